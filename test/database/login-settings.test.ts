import { sql } from 'kysely'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t from 'tap'

import { handle, open, provision } from '../support/tenants.ts'

const on = await provision(t)
const login = decodeURIComponent(new URL(on.url).username)
const role = (await on.admin<{ role: string }>(
  "select 'tenancy_app_' || substr(md5(current_database()), 1, 8) as role"
))[0]?.role ?? ''
// An application's function, as which injected SQL may run anything that its login may.
await on.admin(
  'create function run (command text) returns int language plpgsql as $$ begin execute command; ' +
    'return 1; end $$'
)

const everything = sql`select current_setting('TimeZone') as zone, current_setting('DateStyle') as dates,
    current_setting('work_mem') as memory, current_setting('default_transaction_read_only') as read_only,
  current_setting('statement_timeout') as timeout, current_setting('search_path') as path,
    current_setting('role') as role, coalesce(current_setting('app.mark', true), '') as mark,
      current_setting('plan_cache_mode') as plans`

const kill = (): Promise<unknown> =>
  on.admin(
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and
      usename = '${login}'`
  )

const settings = ["timezone = 'Asia/Tokyo'", "datestyle = 'German, DMY'", "work_mem = '64kB'",
  'default_transaction_read_only = on', 'statement_timeout = 1', "search_path = 'pg_temp'",
  `role = '${role}'`, 'plan_cache_mode = force_generic_plan']

t.test("CON-25 if a function changes the login's settings, new connections keep the boot's", async t => {
  const changed: string[] = []
  const note = (message: unknown): void => {
    changed.push(...(message as { settings: string[] }).settings)
  }
  subscribe('fastify-tenancy:login-settings-changed', note)
  t.teardown(() => unsubscribe('fastify-tenancy:login-settings-changed', note))
  const database = await open(t, on, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  const other = handle(t, database, 'globex').db
  const clean = (await everything.execute(other)).rows
  for (const setting of settings) {
    await sql`select set_config('role', 'none', false), run(${`alter role "${login}" set ${setting}`})`
      .execute(db)
    await kill()
    t.same((await everything.execute(other)).rows, clean, setting)
    await t.resolves(other.insertInto('notes').values({ body: 'globex:1' }).execute())
    await other.transaction().execute(async trx => t.same((await everything.execute(trx)).rows, clean))
  }
  // Only a superuser may do it with a setting that the server does not know.
  await on.admin(`alter role "${login}" set app.mark = 'left behind'`)
  await kill()
  t.same((await everything.execute(other)).rows, clean)
  t.match(changed.join(), /TimeZone.*app\.mark/i)
  await on.admin(`alter role "${login}" reset all`)
})

t.test("CON-25 the operator's settings stay: of the role before boot, of the database always", async t => {
  await on.admin(`alter role "${login}" set timezone = 'Europe/Berlin'`)
  t.teardown(() =>
    on.admin(
      `alter role "${login}" reset all; alter database "${new URL(on.superUrl).pathname.slice(1)}" reset all`
    )
  )
  const database = await open(t, on, { pool: { max: 1 } })
  const { db } = handle(t, database, 'acme')
  const zone = async (): Promise<unknown> =>
    (await sql`select current_setting('TimeZone') as zone, current_setting('work_mem') as memory`.execute(db))
      .rows[0]
  t.match(await zone(), { zone: 'Europe/Berlin' })
  await on.admin(`alter database "${new URL(on.superUrl).pathname.slice(1)}" set work_mem = '7MB'`)
  await kill()
  t.match(await zone(), { zone: 'Europe/Berlin', memory: '7MB' })
})
