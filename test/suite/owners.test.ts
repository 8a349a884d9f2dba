// Each kind of handle is a connection owner of its own: state left on a connection never reaches
// another owner.
import { sql, type RawBuilder } from 'kysely'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'
import { registered, withUsers } from './work.ts'

const on = await withUsers(await provision(t))
await on.admin(`create function leave () returns int language plpgsql as $$ begin
  perform set_config('app.mark', 'left', false), setseed(0.5); execute 'listen left_behind'; return 1;
  end $$`)

const leave = sql`select leave() as done`
const look: RawBuilder<{ seen: string }> =
  sql`select coalesce(current_setting('app.mark', true), '') || array(select pg_listening_channels())::text as
    seen`
const clean = [{ seen: '{}' }]

t.test('CON-03 a tenant and the global tables alternate on one connection', async t => {
  // Without `globalUrl` the login of tenants' statements also serves the global tables.
  await on.admin(
    `do $$ begin execute format('grant %I to %I', 'tenancy_global_' || substr(md5(current_database()), 1, 8),
      '${decodeURIComponent(new URL(on.url).username)}'); end $$`
  )
  const app = await suite(t, on, { registry: registered().registry, database: { pool: { max: 1 } } })
  app.get('/look', async request => (await look.execute(dbOf(request))).rows)
  app.get('/leave', async request => (await leave.execute(dbOf(request))).rows)
  await app.ready()
  const get = async (url: string): Promise<unknown> =>
    (await app.inject({ url, headers: { host: 'acme.example.com' } })).json()
  await get('/leave')
  t.same((await look.execute(app.tenancy.global)).rows, clean)
  await leave.execute(app.tenancy.global)
  t.same(await get('/look'), clean)
})

t.test('CON-03 two pieces of work across tenants on one connection', async t => {
  const app = await suite(t, on, {
    registry: registered().registry,
    database: { systemUrl: on.systemUrl },
    audit: () => {}
  })
  await app.ready()
  const who = { reason: 'invoices', actor: 'billing', write: true }
  await app.tenancy.asSystem(who, async ({ db }) => {
    await leave.execute(db)
    t.not(
      JSON.stringify((await look.execute(db)).rows),
      JSON.stringify(clean),
      'control: within one it is there'
    )
  })
  await app.tenancy.asSystem(who, async ({ db }) => t.same((await look.execute(db)).rows, clean))
})
