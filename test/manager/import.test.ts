import type { Isolation } from '@fastify-tenancy/core'
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { isLong } from '../support/long.ts'
import { until } from '../support/until.ts'
import { contents, fill, folder, managerFixture, unique } from './manager-fixture.ts'

interface Draft {
  version: number
  tables: {
    name: string
    rows: number
    bytes: number
    sha256: string
    columns: { name: string; type: string }[]
  }[]
}

/**
 * Alters a copy of an export. Its checksums are made to match wherever an attacker could do so as
 * well.
 */
class Copy {
  readonly path: string

  constructor (from: string, path: string) {
    rmSync(path, { recursive: true, force: true })
    cpSync(from, path, { recursive: true })
    this.path = path
  }

  text (file: string, alter: (text: string) => string): void {
    writeFileSync(join(this.path, file), alter(readFileSync(join(this.path, file), 'utf8')))
  }

  manifest (alter: (manifest: Draft) => void): void {
    this.text('manifest.json', text => {
      const manifest = JSON.parse(text) as Draft
      alter(manifest)
      return JSON.stringify(manifest)
    })
  }

  rows (
    table: string,
    alter: (rows: Record<string, unknown>[]) => Record<string, unknown>[],
    more: { name: string; type: string }[] = []
  ): void {
    const file = join(this.path, 'tables', `${table}.ndjson`)
    const rows = alter(
      readFileSync(file, 'utf8').trim().split('\n').map(line => JSON.parse(line) as Record<string, unknown>)
    )
    const text = rows.map(row => `${JSON.stringify(row)}\n`).join('')
    writeFileSync(file, text)
    this.manifest(({ tables }) => {
      Object.assign(tables.find(({ name }) => name === table)!, {
        rows: rows.length,
        bytes: Buffer.byteLength(text),
        sha256: createHash('sha256').update(text).digest('hex')
      }).columns.push(...more)
    })
  }

  rename (from: string, to: string): void {
    const file = [...Buffer.from(to)].map(byte =>
      /[a-z0-9_-]/.test(String.fromCharCode(byte))
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
    ).join('')
    cpSync(join(this.path, 'tables', `${from}.ndjson`), join(this.path, 'tables', `${file}.ndjson`))
    this.manifest(({ tables }) => {
      tables.find(({ name }) => name === from)!.name = to
    })
  }
}

const withoutKeys = (isShared: boolean): string => {
  const column = isShared ? 'tenant_id text not null, ' : ''
  return `create table projects (${column}id serial primary key, name text not null);
    create table tasks (id serial primary key, project_id int not null
      references projects, title text not null);
    create table labels (${column}word text not null, project_id int references projects)`
}

const strategies: readonly Isolation[] = ['rls', 'row', 'schema', 'database']
t.jobs = 2

t.test(
  'export, import and export again are equal in every strategy, alone and beside others',
  { buffered: true },
  async t => {
    const home = await managerFixture(t)
    const id = unique(home, 'acme')
    await home.manager.create({ slug: 'acme', id, plan: 'pro', settings: { theme: 'dark' } })
    await home.manager.create({ slug: 'globex', id: 'globex-1' })
    await fill(home, 'globex-1', 5)
    await fill(home, id)
    const at = folder(t)
    const manifest = await home.manager.export({ slug: 'acme' }, { to: join(at, 'first') })
    t.match(manifest.tenant, { id, plan: 'pro', settings: { theme: 'dark' } })
    t.same(manifest.tables.map(({ name, rows }) => [name, rows]), [['labels', 3], ['projects', 3], ['tasks',
      6]])
    const away = await managerFixture(t)
    const there = await away.manager.import(join(at, 'first'), { slug: 'acme' })
    t.match(there, {
      id,
      slug: 'acme',
      name: 'acme',
      plan: 'pro',
      status: 'active',
      isolation: 'rls',
      settings: { theme: 'dark' }
    })
    await away.manager.export(there, { to: join(at, 'away') })
    t.same(contents(join(at, 'away')), contents(join(at, 'first')), 'on an empty server')
    for (const isolation of strategies) {
      const slug = `copy-${isolation}`
      const copy = await away.manager.import(join(at, 'first'), {
        slug,
        id: unique(away, isolation),
        isolation
      })
      t.match(copy, { slug, isolation, status: 'active' })
      await away.manager.export(copy, { to: join(at, slug) })
      t.same(contents(join(at, slug)), contents(join(at, 'first')), `beside others, as ${isolation}`)
      const back = await home.manager.import(join(at, slug), { slug, id: unique(home, `back-${isolation}`) })
      await home.manager.export(back, { to: join(at, `back-${isolation}`) })
      t.same(
        contents(join(at, `back-${isolation}`)),
        contents(join(at, 'first')),
        `and from ${isolation} back`
      )
    }
  }
)

t.test(
  'IMP-01 altered or conflicting rows are refused before the first row, and nothing is left',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const { manager } = on
    const id = unique(on, 'a')
    await manager.create({ slug: 'acme', id })
    await manager.create({ slug: 'globex', id: 'globex-1' })
    await fill(on, id)
    await fill(on, 'globex-1')
    const at = folder(t)
    const good = join(at, 'good')
    await manager.export({ id }, { to: good })
    const everything = async (): Promise<unknown> =>
      on.admin(`
    select 'projects' as name, tenant_id, id::text, name as text from projects union all select 'tasks',
      tenant_id, id::text, title from tasks union all select 'labels', tenant_id, '', word from labels
    union all select 'tenant', id, slug, status from tenancy.tenants union all select 'name', tenant_id, name,
      '' from tenancy.names union all select 'schema', '', nspname, '' from pg_namespace
        where nspname like 'tenant_%'
    union all select 'role', '', rolname, '' from pg_roles where rolname like 'tenant_' || current_database()
      || '%' union all select 'operation', tenant_id, kind, '' from tenancy.operations
        where finished_at is null order by 1, 2, 3, 4`)
    const before = await everything()
    const attempts: readonly [string, (copy: Copy) => void, RegExp][] = [
      ["another tenant's id in a row", copy => {
        copy.rows('labels', ([first, ...rest]) => [{ ...first, tenant_id: 'globex-1' }, ...rest])
      }, /column 'tenant_id' that the manifest does not list/],
      ['a tenant column that the manifest lists', copy => {
        copy.rows('labels', rows => rows.map(row => ({ ...row, tenant_id: 'globex-1' })), [{
          name: 'tenant_id',
          type: 'text'
        }])
      }, /no writable column 'tenant_id'/],
      ['a row with a column more', copy => {
        copy.rows('labels', ([first, ...rest]) => [{ ...first, more: '1' }, ...rest])
      }, /line 1 of tables\/labels.ndjson has a column 'more'/],
      ['a row with a column less', copy => {
        copy.rows('labels', ([first]) => [{ word: first?.['word'] }])
      }, /lacks a column/],
      ['a value that is no text', copy => {
        copy.rows('labels', ([first]) => [{ ...first, word: 1 }])
      }, /neither text nor null/],
      ['a line that is no JSON', copy => {
        copy.text('tables/labels.ndjson', text => `${text}\\.\n`)
      }, /not a JSON object/],
      ['a checksum that is wrong', copy => {
        copy.text('tables/labels.ndjson', text => text.replace('label 1', 'label 9'))
      }, /does not match the manifest/],
      ['a file that is cut', copy => {
        copy.text('tables/tasks.ndjson', text => text.slice(0, text.lastIndexOf('{')))
      }, /does not match the manifest/],
      ['a file that is missing', copy => {
        rmSync(join(copy.path, 'tables/tasks.ndjson'))
      }, /cannot be read/],
      ["a file that is another place's", copy => {
        rmSync(join(copy.path, 'tables/labels.ndjson'))
        symlinkSync('/etc/passwd', join(copy.path, 'tables/labels.ndjson'))
      }, /not a JSON object/],
      ['no manifest', copy => {
        rmSync(join(copy.path, 'manifest.json'))
      }, /cannot read manifest.json/],
      ['a manifest that is no JSON', copy => {
        copy.text('manifest.json', () => '{')
      }, /not an export, or its format is newer/],
      ['a later format', copy => {
        copy.manifest(manifest => {
          manifest.version = 2
        })
      }, /version must be/],
      ['a table twice', copy => {
        copy.manifest(({ tables }) => {
          tables.push(tables[0]!)
        })
      }, /lists table 'labels' twice/],
      ['a table that is in no list', copy => {
        copy.rename('labels', 'countries')
      }, /no tenant table 'countries'/],
      ['a table that is none', copy => {
        copy.rename('labels', 'labels"; drop table projects; --')
      }, /no tenant table 'labels"; drop table projects; --'/],
      ['a table elsewhere', copy => {
        copy.rename('labels', '../../../etc/passwd')
      }, /no tenant table '\.\.\//],
      ['the registry', copy => {
        copy.rename('labels', 'tenancy.tenants')
      }, /no tenant table 'tenancy.tenants'/],
      ['a column that is none', copy => {
        copy.manifest(({ tables }) => {
          tables[0]!.columns[0]!.name = 'word" from tenancy.signing_keys --'
        })
      }, /has a column 'country'/],
      ['another type', copy => {
        copy.manifest(({ tables }) => {
          tables[0]!.columns[0]!.type = 'text; drop table projects'
        })
      }, /is text in the target, but text; drop table/],
      ['rows out of a constraint', copy => {
        copy.rows('labels', ([first]) => [{ ...first, country: 'XX' }])
      }, /do not fit the tables \(table labels, constraint labels_country_fkey\)/],
      ['a value of no such type', copy => {
        copy.rows('projects', ([first, ...rest]) => [{ ...first, budget: 'a lot' }, ...rest])
      }, /do not fit the tables/],
      ['children without their parents', copy => {
        copy.rows('projects', () => [])
      }, /do not fit the tables/]
    ]
    for (const [name, alter, message] of attempts) {
      for (const isolation of ['rls', 'schema'] as const) {
        const copy = new Copy(good, join(at, 'copy'))
        alter(copy)
        await t.rejects(manager.import(copy.path, { slug: 'copy', id: unique(on, 'copy'), isolation }), {
          code: 'FST_TENANCY_IMPORT_REFUSED',
          message
        }, `${name}, ${isolation}`)
      }
      t.same(await everything(), before, name)
    }
    for (
      const [input, code] of [[{ slug: 'acme', id: unique(on, 'copy') }, 'TENANT_CONFLICT'], [{
        slug: 'copy',
        id
      }, 'IMPORT_REFUSED'], [{ slug: 'copy', id: 'globex-1' }, 'IMPORT_REFUSED'], [{ slug: 'A b' },
        'TENANT_CONFLICT'], [{ slug: 'copy', id: '../x' }, 'TENANT_CONFLICT'], [{
        slug: 'copy',
        shard: 'mars'
      }, 'OPTION_INVALID']] as const
    ) {
      await t.rejects(manager.import(good, input), { code: `FST_TENANCY_${code}` }, JSON.stringify(input))
    }
    await t.rejects(manager.import(join(at, 'nowhere'), { slug: 'copy' }), {
      code: 'FST_TENANCY_IMPORT_REFUSED'
    })
    t.same(await everything(), before)
    t.match(
      await manager.import(good, { slug: 'copy', id: unique(on, 'copy') }),
      { status: 'active' },
      'control: as it was, it is imported'
    )
  }
)

t.test(
  "IMP-01 a key without the tenant column gives no access to another tenant's rows",
  { buffered: true },
  async t => {
    const [on, away] = [await managerFixture(t, { build: withoutKeys }),
      await managerFixture(t, { build: withoutKeys })]
    await on.manager.create({ slug: 'acme', id: 'a' })
    for (const tenant of ['a', 'b']) {
      await on.admin(
        'insert into projects (tenant_id, name) select $1, $1 || g from generate_series(1, 3) g',
        [tenant]
      )
      await on.admin(
        'insert into tasks (project_id, title) select id, $1 || id from projects where tenant_id = $1',
        [tenant]
      )
      await on.admin('insert into labels select $1, $1 || id, id from projects where tenant_id = $1', [
        tenant
      ])
    }
    const at = folder(t)
    await on.manager.export({ id: 'a' }, { to: join(at, 'export') })
    t.notMatch(
      JSON.stringify(contents(join(at, 'export'))),
      /"b\d|b\d\\/,
      'a table without the tenant column is read through its parent'
    )
    await t.rejects(on.manager.import(join(at, 'export'), { slug: 'copy', isolation: 'rls' }), {
      code: 'FST_TENANCY_IMPORT_REFUSED',
      message: /key 'projects_pkey' of table 'projects' does not have the tenant column/
    })
    // Only labels, whose keys cannot collide with another tenant's, but which refer to projects of
    // the tenant in these tables.
    const copy = new Copy(join(at, 'export'), join(at, 'copy'))
    for (const table of ['projects', 'tasks']) copy.rows(table, () => [])
    await t.rejects(on.manager.import(copy.path, { slug: 'copy', isolation: 'rls' }), {
      code: 'FST_TENANCY_IMPORT_REFUSED',
      message: /'labels' refers to a row that is not in the export/
    })
    t.same(await on.admin('select count(*)::int from labels'), [{ count: 6 }])
    t.match(await on.manager.import(join(at, 'export'), { slug: 'schema', isolation: 'schema' }), {
      status: 'active'
    }, 'in its own tables it conflicts with no row')
    const there = await away.manager.import(join(at, 'export'), { slug: 'acme' })
    await away.manager.export(there, { to: join(at, 'again') })
    t.same(contents(join(at, 'again')), contents(join(at, 'export')), 'empty tables take it')
    await away.admin("insert into projects (tenant_id, name) values ('a', 'next')")
    t.same(
      await away.admin('select max(id) from projects'),
      [{ max: 4 }],
      'their sequences go on behind what was imported'
    )
  }
)

t.test('a process killed in the middle of an import leaves work that the same call resumes', {
  buffered: true
}, async t => {
  const on = await managerFixture(t)
  await on.manager.create({ slug: 'acme', id: unique(on, 'a') })
  await fill(on, unique(on, 'a'), 10)
  const at = folder(t)
  await on.manager.export({ slug: 'acme' }, { to: join(at, 'export') })
  for (
    const [isolation, ...steps] of isLong
      ? [['rls', 'labels', 'rows'], ['schema', 'provision', 'tasks', 'activate']] as const
      : [['rls', 'rows'], ['schema', 'tasks', 'activate']] as const
  ) {
    const input = { slug: `copy-${isolation}`, id: unique(on, isolation), isolation }
    for (const step of steps) {
      const child = fork(join(import.meta.dirname, '../support/transfer-process.ts'), [
        JSON.stringify({
          superUrl: on.superUrl,
          id: '',
          verb: { import: join(at, 'export'), input },
          dieAt: [step]
        })
      ], { execArgv: ['--conditions=@fastify-tenancy/source'], silent: true })
      t.same(await once(child, 'exit'), [null, 'SIGKILL'], `${isolation}: ${step}`)
      t.equal(
        (await on.manager.get({ slug: input.slug }))?.status,
        step === 'activate' ? 'active' : 'provisioning',
        'never half active'
      )
      await until(async () =>
        (await on.admin(
          "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database " +
            'where datname = current_database())'
        )).length === 0
      )
    }
    const there = await on.manager.import(join(at, 'export'), input)
    t.match(there, { ...input, status: 'active' })
    await on.manager.export(there, { to: join(at, isolation) })
    t.same(contents(join(at, isolation)), contents(join(at, 'export')))
    await t.rejects(
      on.manager.import(join(at, 'export'), input),
      { code: 'FST_TENANCY_TENANT_CONFLICT' },
      'it is done'
    )
  }
})

t.test(
  'an import cut short after its rows resumes only with its own export',
  { buffered: true },
  async t => {
    const on = await managerFixture(t)
    const { manager } = on
    const at = folder(t)
    for (const [slug, count] of [['acme', 3], ['globex', 2]] as const) {
      await manager.create({ slug, id: unique(on, slug) })
      await fill(on, unique(on, slug), count)
      await manager.export({ slug }, { to: join(at, slug) })
    }
    const id = unique(on, 'copy')
    const mortal = on.another({
      progress: ({ step }) => {
        if (step === 'rows') throw new Error('it dies')
      }
    })
    await t.rejects(mortal.import(join(at, 'acme'), { slug: 'copy', id }), { message: 'it dies' })
    const rows = async (): Promise<unknown> =>
      (await on.admin('select count(*)::int as count from projects where tenant_id = $1', [id]))[0]
    for (const done of ['rows are written down', 'rows are not']) {
      await t.rejects(manager.import(join(at, 'globex'), { slug: 'copy', id }), {
        code: 'FST_TENANCY_TENANT_CONFLICT',
        message: /the import of another export/
      }, done)
      t.equal((await manager.get({ id }))?.status, 'provisioning')
      t.same(await rows(), { count: 3 }, 'the rows are those of the first')
      await on.admin(
        "update tenancy.operations set done = array_remove(done, 'rows') where finished_at is null"
      )
    }
    await on.admin('alter table labels add more text')
    await t.rejects(manager.import(join(at, 'acme'), { slug: 'copy', id }), {
      code: 'FST_TENANCY_IMPORT_REFUSED',
      message: /column 'more'/
    })
    t.equal(await manager.get({ id }), undefined)
    t.same(await rows(), { count: 0 }, 'a later tenant with this id finds no rows')
  }
)
