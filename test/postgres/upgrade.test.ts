// Databases that earlier versions of the suite initialised. `init` brings them to today's schema.
import { assertInitialised, ensureLedger, init } from '@fastify-tenancy/postgres/install'
import { protect } from '@fastify-tenancy/postgres/policies'
import { rolesOf } from '@fastify-tenancy/postgres/roles'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'
import { readFileSync } from 'node:fs'
import type pg from 'pg'
import t from 'tap'

import { sqlFiles } from '../../packages/postgres/src/install/sql.generated.ts'
import { ensureRoles, withRoles } from '../../packages/postgres/src/roles/roles.ts'
import { freshDatabase } from '../support/fresh.ts'
import { connect, databaseOf } from '../support/sql.ts'
import { dumpCatalog } from './catalog.ts'

const secret = 'a secret of the tests that is long enough'
const tables: ResolvedTables = {
  tenant: { projects: 'tenant_id' },
  shared: ['countries'],
  global: ['users'],
  schema: 'public'
}

/** Leaves what `init` of the version with this SQL file as its newest left. */
async function initialise (client: pg.Client, database: string, newest: number): Promise<void> {
  const roles = rolesOf(database)
  await ensureRoles(client, roles)
  await client.query(`create schema tenancy authorization "${roles.owner}";
    grant create on database "${database}" to "${roles.owner}";
    grant usage, create on schema public to "${roles.owner}"; set role "${roles.owner}"`)
  for (const { version, name, sql } of sqlFiles.filter(file => file.version <= newest)) {
    await client.query(withRoles(sql, roles))
    await client.query('insert into tenancy.migrations (version, name) values ($1, $2)', [version, name])
  }
  await client.query(`comment on schema tenancy is 'fastify-tenancy ${newest}'; reset role`)
}

for (const newest of [9, 18, 24]) {
  t.test(`init makes a database of SQL file ${newest} like a new one and keeps its rows`, async t => {
    const url = await freshDatabase(t)
    const client = await connect(t, url)
    await client.query(`create table projects (id serial primary key, tenant_id text not null, name text);
      create table countries (code text primary key); create table users (id serial primary key)`)
    await initialise(client, databaseOf(url), newest)
    await client.query(`
      insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard)
        values ('a-1', 'acme', 'Acme', 'suspended', 'free', 'rls', 'default');
      insert into tenancy.fences (tenant, home, reason) values (sha256('a-1'), 'shared', 'suspended');
      insert into tenancy.operations (tenant_id, kind, done, finished_at)
        values ('a-1', 'move', '{follow}', now()), ('a-1', 'delete', '{fence,wait}', null)`)
    await t.rejects(assertInitialised(client, { tables, signed: true }), {
      code: 'FST_TENANCY_SETUP_INVALID',
      message: /initialised by an older version/
    })

    await init(client, { signingSecrets: [secret] })
    await protect(client, { tables, signed: true })
    const golden = readFileSync(new URL('golden/catalog.txt', import.meta.url), 'utf8')
    t.equal(await dumpCatalog(client), golden)
    await assertInitialised(client, { tables, signed: true })
    t.same((await client.query('select placement, reason from tenancy.lockouts')).rows, [
      { placement: 'shared', reason: 'suspended' }
    ])
    await t.rejects(client.query("select tenancy.check_lockout('a-1', 'shared', '')"), { code: 'TN403' })
    t.same((await client.query('select kind, done from tenancy.operations order by kind')).rows, [
      { kind: 'delete', done: ['lockout', 'wait'] },
      { kind: 'move', done: ['follow'] }
    ], 'an unfinished operation resumes under the new names of its steps')
  })
}

t.test("a tenant's own database of SQL file 18 gets the present names of its lock functions", async t => {
  const client = await connect(t, await freshDatabase(t))
  const files = sqlFiles.filter(({ name }) => name === 'migrations' || name === 'locks')
  await client.query(`create schema tenancy; ${files.map(({ sql }) => sql).join('\n')}`)
  await client.query('begin')
  await ensureLedger(client)
  await ensureLedger(client)
  await client.query('commit')
  const { rows } = await client.query(
    `select proname::text as name from pg_proc
      where pronamespace = 'tenancy'::regnamespace and proname ~ '_lock$' order by 1`
  )
  t.same(rows.map(({ name }) => name as string), ['acquire_lock', 'await_lock', 'claim_lock', 'release_lock'])
})
