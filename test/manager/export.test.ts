import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { until } from '../support/until.ts'
import { connect } from '../support/sql.ts'
import { contents, ddl, fill, folder, managerFixture, unique } from './manager-fixture.ts'

interface Row {
  [column: string]: string | null
}

function rowsOf (path: string, table: string): Row[] {
  return readFileSync(join(path, 'tables', `${table}.ndjson`), 'utf8').trim().split('\n').filter(line =>
    line !== ''
  ).map(line => JSON.parse(line) as Row)
}

const pairs = (rows: readonly (string | null | undefined)[]): string[] =>
  rows.filter(name => name?.includes('pair')).map(String).toSorted()
const withEvil = (isShared: boolean): string =>
  `${ddl(isShared)}; create table "../../Evil.." (${
    isShared ? 'tenant_id text not null, ' : ''
  }n int); create table "evil" (${isShared ? 'tenant_id text not null, ' : ''}n int)`

t.jobs = 2

t.test(
  "LIF-11 an export is of one moment while others write, and holds only its tenant's rows",
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await on.manager.create({ slug: 'globex', id: 'globex-1' })
    await fill(on, id, 200)
    const stopping = new AbortController()
    let rounds = 0
    const writers = ['globex-1', id].map(async tenant => {
      const client = await connect(t, on.superUrl)
      for (; !stopping.signal.aborted; rounds++) {
        // A project is inserted and deleted together with its task, so an export of one moment
        // holds both or neither.
        await client.query(
          'with p as (insert into projects (tenant_id, name) values ($1, $1 || $2) returning id) ' +
            'insert into labels (tenant_id, word) select $1, $1 || $2 from p',
          [tenant, ` pair ${rounds}`]
        )
        await client.query('begin; savepoint s')
        await client.query("insert into labels (tenant_id, word) values ($1, $1 || ' never')", [tenant])
        await client.query('rollback')
      }
    })
    await until(() => rounds > 10)
    const at = folder(t)
    for (const n of [1, 2, 3]) {
      const before = rounds
      await on.manager.export({ id }, { to: join(at, `${n}`) })
      await until(() => rounds > before)
      const [projects, tasks, labels] = ['projects', 'tasks', 'labels'].map(name =>
        rowsOf(join(at, `${n}`), name)
      ) as [Row[], Row[], Row[]]
      const ids = new Set(projects.map(({ id }) => id))
      t.equal(
        tasks.filter(({ project_id: project }) => !ids.has(project ?? '')).length,
        0,
        'each task has its project'
      )
      t.same(
        pairs(projects.map(({ name }) => name)),
        pairs(labels.map(({ word }) => word)),
        'what was written together is there together'
      )
      t.ok(
        [...projects.map(({ name }) => name), ...labels.map(({ word }) => word), ...tasks.map(({ title }) =>
          title
        )].every(text => text?.startsWith(id) && !text.includes('never'))
      )
    }
    stopping.abort()
    await Promise.all(writers)
  }
)

t.test(
  "LIF-14 no file holds another tenant's data, not even in sequences, defaults or comments",
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await on.manager.create({
      slug: 'globex',
      id: 'globex-1',
      name: 'tag of globex',
      settings: { key: 'tag of globex' }
    })
    await fill(on, id)
    await fill(on, 'globex-1', 500)
    await on.admin(`
    update labels set word = 'tag of globex' where tenant_id = 'globex-1';
    create type mood as enum ('calm', 'tag of globex');
    alter table labels add mood mood default 'tag of globex';
    update labels set mood = 'calm' where tenant_id = '${id}';
    alter table labels alter word set default 'tag of globex', add check (word <> 'no tag of globex');
    comment on table labels is 'tag of globex';
    comment on column labels.word is 'tag of globex';
    create index on labels (word) where word = 'tag of globex';
    select setval('projects_id_seq', 987654321)`)
    const at = join(folder(t), 'export')
    await on.manager.export({ id }, { to: at })
    const files = [join(at, 'manifest.json'),
      ...readdirSync(join(at, 'tables')).map(name => join(at, 'tables', name))]
    for (const file of files) {
      const text = readFileSync(file, 'utf8')
      t.notMatch(text, /globex|987654321/, file)
      // The manifest names the tenant column but no tenant: the import decides again which tenant
      // the rows belong to.
      t.notMatch(text, /tenant_id/, file)
    }
    t.match(
      readFileSync(join(at, 'tables/labels.ndjson'), 'utf8'),
      new RegExp(id),
      'control: its own are there'
    )
    await on.manager.export({ slug: 'globex' }, { to: join(folder(t), 'other') })
  }
)

t.test(
  'CLI-02 an export replaces only an earlier export, only with `force`, and follows no names',
  { buffered: true },
  async t => {
    const on = await managerFixture(t, {
      build: withEvil,
      tables: { tenant: ['projects', 'tasks', 'labels', '../../Evil..', 'evil'], shared: ['countries'] }
    })
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await fill(on, id)
    const at = folder(t)
    const refused = { code: 'FST_TENANCY_EXPORT_REFUSED', statusCode: 409 }
    const [file, other, link, target] = ['file', 'other', 'link', 'target'].map(name => join(at, name)) as [
      string,
      string,
      string,
      string
    ]
    writeFileSync(file, 'precious')
    mkdirSync(other)
    writeFileSync(join(other, 'precious'), '')
    symlinkSync(other, link)
    for (const to of [file, other, link, at]) {
      for (const force of [false, true])
        await t.rejects(
          on.manager.export({ id }, { to, force }),
          refused,
          `${to}, force ${force}`
        )
    }
    await t.rejects(on.manager.export({ id }, { to: join(at, 'missing/folder') }), refused)
    t.equal(readFileSync(file, 'utf8'), 'precious')
    t.same(readdirSync(other), ['precious'])
    await on.manager.export({ id }, { to: target })
    t.same(readdirSync(join(target, 'tables')), ['%2E%2E%2F%2E%2E%2F%45vil%2E%2E.ndjson', 'evil.ndjson',
      'labels.ndjson', 'projects.ndjson', 'tasks.ndjson'])
    const first = contents(target)
    await t.rejects(on.manager.export({ id }, { to: target }), { ...refused, message: /exists/ })
    await on.admin("update labels set word = word || '!' where tenant_id = $1", [id])
    await on.manager.export({ id }, { to: target, force: true })
    t.notSame(contents(target), first, 'replaced')
    t.same(readdirSync(at).toSorted(), ['file', 'link', 'other', 'target'], 'nothing else is left')
    for (const ref of [{ slug: 'nobody' }, { slug: '../../etc' }, { id: '../..' }])
      await t.rejects(
        on.manager.export(ref, { to: join(at, 'nobody') }),
        { code: 'FST_TENANCY_TENANT_UNKNOWN' }
      )
    t.notOk(existsSync(join(at, 'nobody')))
    for (
      const wrong of [{}, { to: '' }, { to: 7 }, { to: join(at, 'x'), force: 'yes' }, {
        to: join(at, 'x'),
        forced: true
      }]
    ) await t.rejects(on.manager.export({ id }, wrong as never), { code: 'FST_TENANCY_OPTION_INVALID' })
  }
)

t.test(
  'CLI-02 an export that is aborted or runs out of space leaves nothing behind',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const id = unique(on, 'a')
    await on.manager.create({ slug: 'acme', id })
    await fill(on, id, 2_000)
    const at = folder(t)
    for (const table of ['labels', 'projects', 'tasks']) {
      const controller = new AbortController()
      const manager = on.another({
        progress: ({ step }) => {
          if (step === table) controller.abort(new Error('enough'))
        }
      })
      await t.rejects(manager.export({ id }, { to: join(at, 'ended'), signal: controller.signal }), {
        message: /enough|aborted/
      }, table)
      t.same(readdirSync(at), [], table)
      t.equal((await manager.export({ id }, { to: join(at, 'whole') })).tables.length, 3, 'the next one')
      rmSync(join(at, 'whole'), { recursive: true })
    }
    // `ulimit -f` makes the kernel refuse bytes above 64 KB of a file (EFBIG), as a full disk would
    // (ENOSPC).
    const order = JSON.stringify({ superUrl: on.superUrl, id, verb: { export: join(at, 'full') }, dieAt: [] })
    // Without the runner's environment: its coverage files would exceed the limit.
    const child = spawn('/bin/sh', ['-c', 'ulimit -f 128; exec env -i "$0" "$@"', process.execPath,
      '--conditions=@fastify-tenancy/source', join(import.meta.dirname, '../support/transfer-process.ts'),
      order], { stdio: ['ignore', 'ignore', 'pipe'] })
    let text = ''
    child.stderr.on('data', chunk => {
      text += String(chunk)
    })
    // 'close' and not 'exit': at 'exit' the last output may not have been read yet.
    const [code] = await once(child, 'close') as [number]
    t.not(code, 0)
    t.match(text, /EFBIG/)
    t.same(readdirSync(at), [])
    // An export that is killed leaves its temporary folder, never a folder with the final name.
    const killed = fork(join(import.meta.dirname, '../support/transfer-process.ts'), [
      JSON.stringify({ superUrl: on.superUrl, id, verb: { export: join(at, 'killed') }, dieAt: ['projects'] })
    ], { execArgv: ['--conditions=@fastify-tenancy/source'], silent: true })
    t.same(await once(killed, 'exit'), [null, 'SIGKILL'])
    t.notOk(existsSync(join(at, 'killed')))
    await until(async () =>
      (await on.admin(
        "select from pg_stat_activity where datname = current_database() and query like 'copy%' " +
          'and pid <> pg_backend_pid()'
      )).length === 0
    )
    const [left = '', ...more] = readdirSync(at)
    t.match(left, new RegExp(`^\\.killed-[0-9a-f]{12}-${killed.pid}-`), 'control')
    t.same(more, [])
    // Folders that must stay: of a living process, of another machine, of an export being replaced,
    // and of another name.
    const others = [left.replace(`-${killed.pid}-`, `-${process.ppid}-`),
      left.replace(/-[0-9a-f]{12}-/, '-0123456789ab-'), `${left}.old`, left.replace('.killed', '.other')]
    for (const name of others) mkdirSync(join(at, name))
    const manager = on.another({
      progress: ({ step }) => {
        if (step === 'projects') seen.push(...readdirSync(at))
      }
    })
    const seen: string[] = []
    const both = await Promise.allSettled([manager.export({ id }, { to: join(at, 'killed') }),
      manager.export({ id }, { to: join(at, 'killed') })])
    t.same(
      both.map(({ status }) => status).toSorted(),
      ['fulfilled', 'rejected'],
      'two at once: one has the name'
    )
    t.notOk(seen.includes(left), 'the next export to that name removes what the dead one left')
    t.same(readdirSync(at).toSorted(), [...others, 'killed'].toSorted(), 'and nothing else')
  }
)

t.test("the files of the application's own resources are part of an export", { buffered: true }, async t => {
  const on = await managerFixture(t)
  const id = unique(on, 'a')
  await on.manager.create({ slug: 'acme', id })
  const at = folder(t)
  const manager = on.another({
    lifecycle: {
      steps: [{
        name: 'bucket/eu',
        async export ({ tenant, folder }) {
          writeFileSync(join(folder, 'logo.svg'), tenant.slug)
        }
      }, { name: 'index' }]
    }
  })
  t.same((await manager.export({ id }, { to: join(at, 'export') })).steps, ['bucket/eu'])
  t.equal(readFileSync(join(at, 'export/steps/bucket%2Feu/logo.svg'), 'utf8'), 'acme')
  const failing = on.another({
    lifecycle: {
      steps: [{
        name: 'bucket',
        async export () {
          throw new Error('no such bucket')
        }
      }]
    }
  })
  await t.rejects(failing.export({ id }, { to: join(at, 'failed') }), { message: 'no such bucket' })
  t.same(readdirSync(at), ['export'])
})
