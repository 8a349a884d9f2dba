// --print and --format: another tool runs the printed script, and the database is as after the real
// run.
import { createManager, type Manager, type SetupReport } from '@fastify-tenancy/manager'
import { signingKey } from '@fastify-tenancy/postgres/context-token'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { dumpCatalog } from '../postgres/catalog.ts'
import { freshDatabase } from '../support/fresh.ts'
import { migrate } from '../support/migrate.ts'
import { runScript } from '../support/script.ts'
import { connect, loginUrl } from '../support/sql.ts'

const secret = 'a secret of the tests that is long enough'
const ddl = 'create table projects (id serial primary key, tenant_id text not null, name text); ' +
  'create table countries (code text primary key); create table other (v text); ' +
  'grant select on other to public'

interface Place {
  readonly url: string
  readonly admin: pg.Client
  readonly manager: Manager
}

async function place (t: Test): Promise<Place> {
  const url = await freshDatabase(t)
  const [app, owner] = ['app', 'owner'].map(use => loginUrl(url, use)) as [string, string]
  const manager = createManager({
    database: { url: app, ownerUrl: owner },
    rls: { secret },
    tables: { tenant: ['projects'], shared: ['countries'] }
  })
  t.teardown(() => manager.close())
  const admin = await connect(t, url)
  await admin.query(ddl)
  return { url, admin, manager }
}

// Adds what the golden dump leaves out: privileges of the database and of built-in functions,
// logins and their memberships.
async function dump ({ url, admin }: Place): Promise<string> {
  const hash = /_([0-9a-f]{8})@/.exec(loginUrl(url, 'app').replace(/:[^:@]*@/, '@'))?.[1] ?? ''
  const { rows } = await admin.query<{ line: string }>(
    `
    select coalesce(datacl::text, '') as line from pg_database where datname = current_database()
    union all select p.oid::regprocedure || ' ' || proacl::text from pg_proc p
      where pronamespace = 'pg_catalog'::regnamespace and proacl is not null
    union all select format('%s in %s %s', m.member::regrole, m.roleid::regrole, to_jsonb(m) - 'oid' -
      'roleid' - 'member' - 'grantor') from pg_auth_members m where m.member::regrole::text like '%' || $1
    union all select format('%s %s %s', rolname, rolcanlogin, rolinherit) from pg_roles
      where rolname like '%' || $1`,
    [hash]
  )
  return `${await dumpCatalog(admin)}\n${rows.map(({ line }) => line).toSorted().join('\n')}`.replaceAll(
    hash,
    'HASH'
  )
}

function userOf (url: string, use: string): string {
  return new URL(loginUrl(url, use)).username
}

function only ({ scripts }: SetupReport): string {
  return scripts.map(({ text }) => text).join('')
}

t.test('what init and protect print has the effect of the real run', async t => {
  const real = await place(t)
  await real.manager.init({ url: real.url, harden: true })
  await real.manager.protect({ url: real.url })
  const golden = await dump(real)

  const twin = await place(t)
  const before = await dump(twin).catch(() => '')
  const init = only(await twin.manager.init({ url: twin.url, harden: true, print: 'sql' }))
  t.equal(await dump(twin).catch(() => ''), before, 'printing changes nothing')
  t.equal((await twin.admin.query("select to_regnamespace('tenancy') as schema")).rows[0].schema, null)
  await runScript(twin.url, init)
  const protect = only(await twin.manager.protect({ url: twin.url, print: 'sql' }))
  await runScript(twin.url, protect)
  t.equal(await dump(twin), golden)

  await t.test("keys and passwords are set later by the owner's login, which may create nothing", async t => {
    const [app, owner] = ['app', 'owner'].map(use => new URL(loginUrl(twin.url, use)))
    for (const { username, password } of [app, owner] as URL[])
      await twin.admin.query(`alter role "${username}" password '${decodeURIComponent(password)}'`)
    t.equal((await twin.admin.query('select from tenancy.signing_keys')).rows.length, 0)
    await twin.manager.init()
    await twin.manager.protect()
    t.equal((await twin.admin.query('select id from tenancy.signing_keys')).rows[0].id, signingKey(secret).id)
    t.equal(await dump(twin), golden, 'and there is nothing else left to do')
  })

  const third = await place(t)
  await t.rejects(
    runScript(third.url, init),
    /made for another database/,
    'names of roles carry a hash of the database: a script is for one'
  )
  // A script that was made for one database, run on another.
  const elsewhere = await place(t)
  const rename = (text: string): string =>
    ['app', 'owner'].reduce(
      (text, use) => text.replaceAll(userOf(elsewhere.url, use), userOf(third.url, use)),
      text
    )
  await migrate(t, third.url, {
    '1.ts': rename(only(await elsewhere.manager.init({ url: elsewhere.url, harden: true, print: 'kysely' }))),
    '2.ts': only(await elsewhere.manager.protect({ url: elsewhere.url, print: 'kysely' }))
  })
  t.equal(await dump(third), golden)
})

t.test('CLI-03 no password, secret or equivalent of one is printed', async t => {
  const { url, manager } = await place(t)
  const { id, key, inner, outer } = signingKey(secret)
  for (const print of ['sql', 'kysely'] as const) {
    const text = only(await manager.init({ url, print }))
    t.match(text, /the signing keys are secrets and not printed/)
    t.match(text, /gets no password here/)
    for (
      const held of [secret, 'secret of app', 'secret of owner', encodeURIComponent('secret of app'),
        'SCRAM-SHA-256', id, key.toString('hex'), inner.toString('hex'), outer.toString('hex')]
    ) t.notOk(text.includes(held), held)
  }
})
