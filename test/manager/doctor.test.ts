import { createManager } from '@fastify-tenancy/manager'
import { checkVersion } from '@fastify-tenancy/postgres/doctor'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

import { probeChecks } from '../../packages/manager/src/doctor/attacks.ts'
import { catalogChecks } from '../../packages/manager/src/doctor/catalog.ts'
import { freshDatabase } from '../support/fresh.ts'
import { fill } from './doctor-holes.ts'
import { doctorWorld, names, tables } from './doctor-fixture.ts'

t.test('a server whose minor version is below the fixes is an error, on every major version', async t => {
  const safe = [130022, 140019, 150014, 160010, 170006, 180000, 190000]
  for (const version of safe) t.equal(checkVersion(version), undefined, `${version}`)
  for (const version of [130021, 140018, 150013, 160009, 170005]) {
    const [major, minor] = [Math.floor(version / 10_000), version % 10_000]
    t.match(checkVersion(version), {
      id: 'D601',
      object: `server ${major}.${minor}`,
      fix: `-- update PostgreSQL to ${major}.${minor + 1} or newer`
    })
  }
  t.match(checkVersion(120022), { id: 'D601', fix: '-- update PostgreSQL to a supported version' })
})

t.test('a baseline hides known findings and names those that are gone', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'doctor-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const file = join(folder, 'baseline.json')
  const on = await doctorWorld(t)
  await on.admin(fill('create policy everything on notes using (true); grant truncate on tasks to {app}', on))
  const first = await on.manager.doctor({ writeBaseline: file })
  t.same(names(first, ['error', 'warning']), ['D105 policy everything on public.notes',
    'D402 table public.tasks'], 'writing changes nothing of the report')
  t.same(JSON.parse(await readFile(file, 'utf8')), {
    version: 1,
    accepted: [{ id: 'D105', object: 'policy everything on public.notes' }, {
      id: 'D402',
      object: 'table public.tasks'
    }]
  })
  t.match(await on.manager.doctor({ baseline: file }), { accepted: 2, stale: { length: 0 } })
  t.same(names(await on.manager.doctor({ baseline: file }), ['error', 'warning']), [])
  await on.admin(fill('grant truncate on notes to {app}; drop policy everything on notes', on))
  const later = await on.manager.doctor({ baseline: file })
  t.same(
    names(later, ['error', 'warning']),
    ['D402 table public.notes'],
    'the same check of another object is new'
  )
  t.same(later.stale, [{ id: 'D105', object: 'policy everything on public.notes', shard: 'default' }])
  t.equal(later.accepted, 1)
})

t.test('a baseline that is missing or broken is an error, and never an empty one', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'doctor-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const manager = createManager({ database: 'postgres://nobody@127.0.0.1:1/none' })
  t.teardown(() => manager.close())
  const file = join(folder, 'baseline.json')
  await t.rejects(manager.doctor({ baseline: file }), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /baseline\.json/
  })
  for (const text of ['', '{}', '{"version":2,"accepted":[]}', '[]', '{"version":1,"accepted":[{"id":1}]}']) {
    await writeFile(file, text)
    await t.rejects(manager.doctor({ baseline: file }), { code: 'FST_TENANCY_SETUP_INVALID' }, text)
  }
  await t.rejects(manager.doctor({ prob: true } as never), {
    code: 'FST_TENANCY_OPTION_INVALID',
    message: /prob/
  })
})

t.test('tenants that are stuck, and failed migrations, are found', async t => {
  const on = await doctorWorld(t, { tables: { ...tables, tenant: [] } })
  for (const slug of ['acme', 'globex', 'hooli', 'initech'])
    await on.manager.create({ slug, id: `id-${slug}` })
  t.same(await on.found(), [])
  await on.admin(`
    alter table tenancy.tenants disable trigger user;
    insert into tenancy.operations (tenant_id, kind, done, updated_at)
      values ('id-acme', 'move', '{target,lockout}', now() - interval '2 hours'), ('id-globex', 'move', '{}',
      now());
    update tenancy.tenants set status = 'provisioning', updated_at = now() - interval '2 hours'
      where slug = 'hooli';
    update tenancy.tenants set status = 'deleting', updated_at = now() - interval '9 days'
      where slug = 'initech';
    insert into tenancy.deletions (tenant_id, was, due_at)
      values ('id-initech', 'active', now() - interval '2 days');
    insert into tenancy.migration_ledger (tenant_id, name, checksum, error)
      values ('', '001_notes', 'x', 'relation "notes" already exists');
    insert into tenancy.moves values ('id-globex', '{}', '{}', now(), now() - interval '8 days'),
      ('id-hooli', '{}', '{}', now(), now() - interval '6 days');
    update tenancy.operations set finished_at = now() where tenant_id = 'id-globex';
    create trigger tenancy_move_1 after truncate on tasks for each statement
      execute function tenancy.record_change('id-globex', 'tasks');
    create trigger tenancy_move_2 after truncate on tasks for each statement
      execute function tenancy.record_change('id-acme', 'tasks')`)
  const { findings } = await on.manager.doctor()
  const mine = findings.filter(({ level }) => level !== 'info')
  t.same(mine.map(({ id, object }) => `${id} ${object}`), ['D511 move of tenant id-acme',
    'D512 tenant id-hooli', 'D513 tenant id-initech', 'D514 migration 001_notes of the shared tables',
    'D516 trigger tenancy_move_1 on table public.tasks'])
  t.match(findings.filter(({ id }) => id === 'D515'), [{
    object: 'old copy of tenant id-globex',
    fix: '-- tenancy move globex --confirm'
  }], 'one that moved a week ago')
  await on.admin(mine.find(({ id }) => id === 'D516')?.fix ?? '')
  t.same((await on.manager.doctor()).findings.filter(({ id }) => id === 'D516'), [], 'the fix mends it')
  t.match(mine[0], { meaning: /^it stopped after lockout: /, fix: '-- tenancy move acme' })
  t.match(mine[1], { meaning: /^it is provisioning: /, fix: '-- tenancy create hooli' })
  t.match(mine[3], { meaning: /already exists/ })
})

t.test('schemas that are missing, incomplete, unowned or at an unknown version are found', async t => {
  const provider = {
    getMigrations: async () => ({ '001': { up: async () => {} }, '002': { up: async () => {} } })
  }
  const on = await doctorWorld(t, {
    isolation: 'schema',
    tables: {},
    migrations: { tenant: provider },
    provision: async ({ client }) => {
      await client.query('create table notes (id int); create table tasks (id int)')
    }
  })
  const slugs = ['acme', 'globex', 'hooli', 'initech', 'stark']
  for (const slug of slugs) await on.manager.create({ slug, id: `id_${slug}` })
  await on.admin('delete from tenancy.migration_ledger')
  await on.admin(
    `insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at) select 'id_' || slug, ` +
      `name, 'x', now() from unnest($1::text[]) slug, unnest('{001,002}'::text[]) name`,
    [slugs]
  )
  t.same(await on.found(), [])
  await on.admin('drop table tenant_id_acme.tasks')
  t.same(
    await on.found(),
    ['D503 table tasks of schema tenant_id_acme'],
    'of the same version, four of five have it'
  )
  await on.admin(`
    drop schema tenant_id_globex cascade;
    delete from tenancy.migration_ledger where tenant_id = 'id_hooli';
    insert into tenancy.migration_ledger (tenant_id, name, checksum, applied_at)
      values ('id_initech', '003', 'x', now())`)
  await on.admin(
    fill(
      `revoke "tenant_id_stark{suffix}" from login_roles{suffix} granted by ${
        on.app.replace('_app_', '_owner_')
      }; create schema tenant_gone; comment on schema tenant_gone is 'fastify-tenancy: tenant gone'`,
      on
    )
  )
  t.same(
    await on.found('error', 'warning', 'info').then(found => found.filter(text => text.startsWith('D5'))),
    [
      'D501 schema tenant_id_globex of tenant id_globex',
      'D504 schema tenant_id_hooli',
      'D504 schema tenant_id_initech',
      fill('D506 role tenant_id_stark{suffix}', on),
      'D502 schema tenant_gone'
    ]
  )
  const { findings } = await on.manager.doctor()
  await on.admin(findings.find(({ id }) => id === 'D506')?.fix ?? '')
  t.notOk((await on.found()).some(text => text.startsWith('D506')), 'the fix of D506')
  await on.admin("delete from tenancy.migration_ledger where tenant_id = 'id_stark' and name = '002'")
  t.ok((await on.found('info')).includes('D505 schema tenant_id_stark'))
  await on.admin('alter table tenancy.audit disable trigger keep_audit')
  t.match((await on.manager.doctor()).findings.filter(({ id }) => id === 'D517'), [{
    object: 'table tenancy.audit'
  }])
  await on.admin(
    'create view report as select * from tenant_id_acme.notes; ' +
      'create materialized view tenant_id_acme.inside as select * from tenant_id_acme.notes'
  )
  const outside = (await on.manager.doctor()).findings.filter(({ id }) => id === 'D507')
  t.match(
    outside,
    [{ object: 'view public.report', fix: /schema tenant_id_acme/ }],
    'DAT-01 what outside depends on a schema, and not what is in it'
  )
  t.equal(outside.length, 1)
})

t.test('a missing login and listed tables without a known owner are found', async t => {
  const on = await doctorWorld(t)
  await on.admin('create table lonely (x int)')
  const manager = createManager({
    ...on.options,
    tables: { ...tables, tenant: [...tables.tenant as string[], 'lonely'] },
    database: {
      ...on.options.database as object,
      url: on.superUrl.replace('postgres:postgres@', 'nobody_at_all@')
    } as never
  })
  t.teardown(() => manager.close())
  t.same(names(await manager.doctor(), ['error', 'warning']), ['D112 table public.lonely',
    'D309 role nobody_at_all'])
})

t.test('each shard is examined, and its findings say which it is', async t => {
  const url = await freshDatabase(t)
  const on = await doctorWorld(t)
  const manager = createManager({
    ...on.options,
    database: { ...on.options.database as object, shards: { far: { url, ownerUrl: url } } } as never
  })
  t.teardown(() => manager.close())
  const report = await manager.doctor({ probe: true })
  t.equal(report.level, 0, 'the lowest of all')
  t.ok(report.findings.some(({ id, shard }) => id === 'D301' && shard === 'far'))
  t.ok(report.findings.some(({ id, shard }) => id === 'D604' && shard === 'far'))
  t.same(report.findings.filter(({ shard, level }) => shard === 'default' && level !== 'info'), [])
  t.same(
    report.findings.map(({ level }) => level),
    report.findings.map(({ level }) => level).toSorted((a, b) =>
      ['error', 'warning', 'info'].indexOf(a) - ['error', 'warning', 'info'].indexOf(b)
    ),
    'errors first'
  )
})

t.test('a database without init is examined too', async t => {
  const url = await freshDatabase(t)
  const bare = createManager({ database: url, tables: { tenant: ['notes'] } })
  t.teardown(() => bare.close())
  t.same(names(await bare.doctor({ probe: true })).filter(text => /^D(?:301|604|113)/.test(text)), [
    'D301 role postgres',
    'D604 schema tenancy',
    'D113 table public.notes'
  ])
})

t.test('every check is found somewhere in these tests', async t => {
  const files = ['doctor', 'doctor-tables', 'doctor-code', 'doctor-privileges', 'doctor-login',
    'doctor-probe', 'doctor-depth', 'doctor-own-databases', 'shard-down', '../strategies/logins',
    '../strategies/logins-global']
  const texts = await Promise.all(
    files.map(file => readFile(new URL(`${file}.test.ts`, import.meta.url), 'utf8'))
  )
  for (const id of Object.keys({ ...catalogChecks, ...probeChecks }))
    t.ok(texts.some(text => new RegExp(`\\b${id}\\b`).test(text)), id)
})
