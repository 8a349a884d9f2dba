// A night of operation: runs the commands of docs/operations.md unchanged, beside an application
// under load.
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { type TenancyOptions } from 'fastify-tenancy'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { gate } from '../support/gate.ts'
import { connect, loginOf, loginUrl } from '../support/sql.ts'
import { until } from '../support/until.ts'
import { folder, run, type Ended } from './command.ts'

const page = readFileSync(
  new URL('../../packages/fastify-tenancy/docs/operations.md', import.meta.url),
  'utf8'
)

/** Returns the command blocks of one section of the page, in order. */
function printed (section: string, language: 'sh' | 'sql' = 'sh'): string[][] {
  const [, text = ''] = page.split(`\n## ${section}\n`)
  const blocks = text.split('\n## ')[0]?.matchAll(/```(\w+)\n([\s\S]*?)```/g) ?? []
  return [...blocks].filter(([, found]) => found === language).map(([, , lines = '']) =>
    lines.trim().split('\n')
  )
}

const [older, newer] = ['a secret of the tests that is long enough',
  'another secret of the tests, long enough']
const superUrl = await freshDatabase(t)
const euUrl = await freshDatabase(t)
const admin = await connect(t, superUrl)
const eu = await gate(t, euUrl)
await eu.open()
const cwd = folder(t)
const started = process.cwd()
// Relative folders in a command line are resolved against the process' own folder.
process.chdir(cwd)
t.teardown(() => {
  process.chdir(started)
})
const migrations = join(cwd, 'migrations')
mkdirSync(migrations)
const migration = (name: string, up: string, down: string): void => {
  writeFileSync(
    join(migrations, `${name}.mjs`),
    `export async function up (db) { ${up} }\nexport async function down (db) { ${down} }\n`
  )
}
migration(
  '1_items',
  "await db.schema.createTable('items').addColumn('id', 'int4', c => c.primaryKey())" +
    ".addColumn('body', 'text').execute()",
  "await db.schema.dropTable('items').execute()"
)

const throughGate = (url: string): string => {
  const { hostname, port } = new URL(eu.url)
  return Object.assign(new URL(url), { hostname, port }).href
}
const euApp = throughGate(loginUrl(euUrl, 'app'))

/** Writes the configuration of the application and the command. */
function configure (
  login: string,
  secret: string | [string, string]
): TenancyOptions {
  const options = {
    baseDomain: 'example.com',
    database: {
      url: loginUrl(superUrl, login),
      ownerUrl: superUrl,
      shards: { eu: { url: euApp, ownerUrl: eu.url } }
    },
    rls: { secret },
    tables: { tenant: ['notes'] }
  }
  writeFileSync(
    join(cwd, 'tenancy.config.json'),
    JSON.stringify({ ...options, manager: { migrations: { tenant: migrations } } })
  )
  return options
}

async function start (options: TenancyOptions): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(tenancy, options)
  app.get('/', async request => {
    const table = request.tenant.isolation === 'schema' ? 'items' : 'notes'
    return request.db.selectFrom(table as never).selectAll().execute()
  })
  await app.ready()
  return app
}

const statusOf = async (app: FastifyInstance, slug: string): Promise<number> =>
  (await app.inject({ url: '/', headers: { host: `${slug}.example.com` } })).statusCode

/** Runs one block of the page. */
async function runBlock (lines: readonly string[] | undefined): Promise<Ended[]> {
  const ended: Ended[] = []
  for (const line of lines ?? []) {
    const [command, ...argv] = line.split(' ')
    if (command !== 'tenancy') throw new Error(`not a command of ours: ${line}`)
    ended.push(await run(cwd, ...argv))
  }
  return ended
}

const codes = (ended: readonly Ended[]): (number | null)[] => ended.map(({ code }) => code)
const itemsOf = async (app: FastifyInstance): Promise<unknown> =>
  JSON.parse((await app.inject({ url: '/', headers: { host: 'acme.example.com' } })).body)

t.test('DAT-16 DAT-18 CON-18 a night of operation with the documented commands', async t => {
  let options = configure('app', older)
  const first = await run(cwd, 'init')
  t.equal(first.code, 0, first.stderr)
  for (const client of [admin, await connect(t, euUrl)])
    await client.query('create table notes (tenant_id text not null, id int, primary key (tenant_id, id))')
  for (
    const argv of [['protect'], ['create', 'acme', '--isolation', 'schema'], ['create', 'baker'], ['create',
      'globex', '--isolation', 'schema', '--shard', 'eu'], ['migrate']]
  ) {
    const { code, stderr } = await run(cwd, ...argv)
    t.equal(code, 0, `${argv.join(' ')}: ${stderr}`)
  }
  const { rows: [home] } = await admin.query<{ schema: string }>(
    "select schema_name as schema from tenancy.tenants where slug = 'acme'"
  )
  const items = `"${home?.schema}".items`
  let app = await start(options)

  await t.test('restore one tenant', async t => {
    await admin.query(`insert into ${items} values (1, 'kept'), (2, 'lost today')`)
    t.equal((await run(cwd, 'export', 'acme', '--to', './acme-yesterday')).code, 0)
    await admin.query(`delete from ${items} where id = 2; insert into ${items} values (3, 'by mistake')`)
    const [block] = printed('Restore one tenant')
    const ended = await runBlock(block)
    t.same(codes(ended), [0, 0, 0], ended.map(({ stderr }) => stderr).join())
    t.same(await itemsOf(app), [{ id: 1, body: 'kept' }, { id: 2, body: 'lost today' }])
    t.match(ended.at(-1)?.stdout, / acme +restore /)
  })

  await t.test('rotate the secret', async t => {
    const [both, alone] = printed('Rotate the secret')
    options = configure('app', [newer, older])
    t.same(codes(await runBlock(both)), [0])
    t.equal(await statusOf(app, 'baker'), 200, 'a process with the old secret alone is served')
    const next = await start(options)
    await app.close()
    app = next
    options = configure('app', newer)
    const refused = await runBlock(alone)
    t.match(refused, [{ code: 1, stderr: /a running process signs with an earlier secret.*again after/ }])
    for (const client of [admin, await connect(t, euUrl)])
      await client.query("update tenancy.signing_uses set used_at = now() - interval '22 minutes'")
    const last = await start(options)
    await app.close()
    app = last
    const done = await runBlock(alone)
    t.same(codes(done), [0], done.map(({ stderr }) => stderr).join())
    t.equal(await statusOf(app, 'baker'), 200)
    await t.rejects(start({ ...options, rls: { secret: older } }), {
      message: /run `tenancy init` with this secret/
    })
  })

  await t.test('rotate a password', async t => {
    options = configure('app_2', newer)
    t.same(codes(await runBlock(printed('Rotate a password')[0])), [0])
    t.equal(await statusOf(app, 'baker'), 200, 'processes with the old login are served')
    const next = await start(options)
    await app.close()
    app = next
    const old = loginOf(loginUrl(superUrl, 'app')).user
    for (const line of printed('Rotate a password', 'sql').flat())
      await admin.query(line.replaceAll('old_login', `"${old}"`))
    for (const slug of ['acme', 'baker', 'globex']) t.equal(await statusOf(app, slug), 200, slug)
    t.equal((await admin.query('select from pg_roles where rolname = $1', [old])).rowCount, 0)
  })

  await t.test('one shard is down', async t => {
    await eu.close()
    const ended = await runBlock(printed('One shard is down')[0])
    t.same(codes(ended), [1, 1, 1])
    for (const { stdout, stderr } of ended)
      t.match(stdout + stderr, /shard 'eu', database '\S+' on \S+ cannot be reached as login '\S+'/)
    await until(async () => await statusOf(app, 'globex') === 503)
    const started = await start(options)
    for (const one of [app, started]) {
      t.equal(await statusOf(one, 'baker'), 200)
      t.equal(await statusOf(one, 'globex'), 503)
    }
    await eu.open()
    for (const one of [app, started]) await until(async () => await statusOf(one, 'globex') === 200)
    t.equal((await run(cwd, 'status')).code, 0)
  })

  await t.test('a bad migration of one tenant is taken back', async t => {
    migration(
      '2_bad',
      "await db.schema.alterTable('items').addColumn('wrong', 'text').execute()",
      "await db.schema.alterTable('items').dropColumn('wrong').execute()"
    )
    const [tried, back] = printed('Take a bad migration of one tenant back')
    t.same(codes(await runBlock(tried)), [0])
    await until(async () => 'wrong' in ((await itemsOf(app)) as object[])[0]!)
    const ended = await runBlock(back)
    t.same(codes(ended), [0, 0])
    t.match(ended[0]?.stdout, /taken back: 2_bad/)
    t.match(ended[1]?.stdout, /^acme +1_items +1/m)
    t.same(await itemsOf(app), [{ id: 1, body: 'kept' }, { id: 2, body: 'lost today' }])
    rmSync(join(migrations, '2_bad.mjs'))
  })
})
