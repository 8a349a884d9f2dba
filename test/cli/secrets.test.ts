import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { connect } from '../support/sql.ts'
import { folder, run } from './command.ts'

const [older, newer] = ['a secret of the tests that is long enough',
  'another secret of the tests, long enough']

t.test('CON-18 init with a new secret reports what it keeps, and drops no key in use', async t => {
  const url = await freshDatabase(t)
  const config = (secret: string): string =>
    folder(t, {
      'tenancy.config.json': JSON.stringify({
        baseDomain: 'example.com',
        database: url,
        rls: { secret },
        tables: { tenant: ['notes'] }
      })
    })
  const [before, after] = [config(older), config(newer)]
  t.match(await run(before, 'init'), { code: 0, stdout: 'initialised\n', stderr: '' })
  // As each process does at boot.
  const boot = async (): Promise<void> => {
    const database = openDatabase(
      resolveDatabaseOptions({ database: url, rls: { secret: older }, tables: { tenant: ['notes'] } })
    )
    t.teardown(() => database.close())
    await database.boot()
  }
  await boot()
  t.match(await run(after, 'init'), {
    code: 0,
    stderr: /goes on accepting an earlier secret.*tenancy init --drop-old-secrets/
  })
  t.match(await run(after, 'init', '--drop-old-secrets'), {
    code: 1,
    stdout: '',
    stderr: /a running process signs with an earlier secret/
  })
  await boot()
  t.match(await run(after, 'init', '--drop-old-secrets', '--yes'), { code: 0, stderr: '' })
  await t.rejects(boot(), {
    code: 'FST_TENANCY_SETUP_INVALID',
    message: /run `tenancy init` with this secret/
  })
  const admin = await connect(t, url)
  t.equal((await admin.query('select from tenancy.signing_keys')).rowCount, 1)
})

t.test('init makes and grants the logins of every URL of the configuration', async t => {
  const url = await freshDatabase(t)
  const login = (use: string): string =>
    Object.assign(new URL(url), { username: `${new URL(url).pathname.slice(1)}_${use}`, password: 'secret' })
      .href
  const urls = {
    url: login('app'),
    tenantRolesUrl: login('roles'),
    globalUrl: login('global'),
    registryUrl: login('registry'),
    systemUrl: login('system'),
    ownerUrl: login('owner')
  }
  const cwd = folder(t, {
    'tenancy.config.json': JSON.stringify({
      baseDomain: 'example.com',
      database: urls,
      rls: { secret: older },
      tables: { tenant: [], global: ['people'] }
    })
  })
  const admin = await connect(t, url)
  t.teardown(async () => {
    const client = await connect(t, url.replace(/\/[^/]*$/, '/postgres'))
    for (const each of Object.values(urls))
      await client.query(`drop role if exists "${new URL(each).username}"`).catch(() => {})
  })
  await admin.query('create table people (id int primary key)')
  t.match(await run(cwd, 'init', '--tenant-roles', '--login', url), { code: 0, stderr: '' })
  t.match(await run(cwd, 'protect', '--login', url), { code: 0, stderr: '' })
  t.match(await run(cwd, 'create', 'acme', '--id', 'a-1', '--isolation', 'schema'), { code: 0 })
  const { rows } = await admin.query<{ login: string; held: string }>(
    `
    select split_part(holder.rolname, '_', 3) as login,
      string_agg(split_part(granted.rolname, '_', 1) || '_' || split_part(granted.rolname, '_', 2), ' '
      order by granted.rolname) as held
    from pg_auth_members m join pg_roles granted on granted.oid = m.roleid
      join pg_roles holder on holder.oid = m.member
    where holder.rolname like $1 and not m.admin_option group by 1 order by 1`,
    [`${new URL(url).pathname.slice(1)}\\_%`]
  )
  t.same(rows, [
    { login: 'app', held: 'tenancy_app' },
    { login: 'global', held: 'tenancy_global' },
    { login: 'owner', held: 'tenancy_owner' },
    { login: 'registry', held: 'tenancy_registry' },
    { login: 'roles', held: 'tenant_a-1' },
    { login: 'system', held: 'tenancy_system' }
  ])
  t.match(JSON.parse((await run(cwd, 'doctor', '--json')).stdout), { level: 3 })
})
