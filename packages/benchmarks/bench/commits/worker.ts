/*
 * A separate process that measures one checkout: `node worker.ts <checkout> <job as JSON>`. It
 * sets a database up with that checkout's packages, and measures a slice for each message that
 * names a task.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Core from '@fastify-tenancy/core'
import type * as CoreScope from '@fastify-tenancy/core/scope'
import type * as Database from '@fastify-tenancy/database'
import type { SqlClient } from '@fastify-tenancy/postgres/client'
import type * as DatabaseOptions from '@fastify-tenancy/database/options'
import type * as ManagerPackage from '@fastify-tenancy/manager'
import type { Kysely, Sql } from 'kysely'
import type pgModule from 'pg'

import type { Items } from '../database/postgres.ts'
import { drive } from '../../src/workers.ts'

/** The job of one process. */
export interface Job {
  /** The superuser's URL of an empty database. */
  readonly superUrl: string
  /** Host and port through which the application reaches that database. */
  readonly host: string
  readonly inFlight: number
  readonly isolation: 'rls' | 'row' | 'schema'
  readonly isSigned: boolean
  /** More options of `database`. */
  readonly database: object
}

type Db = Kysely<{ items: Items }>
type Piece = (db: Db) => Promise<unknown>

const [checkout = '', job = ''] = process.argv.slice(2)
const { superUrl, host, inFlight, isolation, isSigned, database } = JSON.parse(job) as Job
const [rows, tenantCount] = [500, 20]
const secret = 'a secret of the benchmarks, 32 characters and more'

const require = createRequire(join(checkout, 'packages/database/package.json'))
const pg = require('pg') as typeof pgModule
const { sql } = require('kysely') as { sql: Sql }
const load = async (...path: string[]): Promise<unknown> =>
  import(pathToFileURL(join(checkout, 'packages', ...path)).href)
const from = (name: string): Promise<unknown> => load(name, 'dist/index.js')
const { memoryRegistry } = await from('core') as typeof Core
// Older checkouts export these from the packages themselves.
const { TenantScope } = await load('core', 'dist/entries/scope.js')
  .catch(() => from('core')) as typeof CoreScope
const { openDatabase } = await from('database') as typeof Database
const { resolveDatabaseOptions } = await load('database', 'dist/options/index.js')
  .catch(() => from('database')) as typeof DatabaseOptions
const { createManager } = await from('manager') as typeof ManagerPackage

const tables = { tenant: ['items'] }
const rls = isSigned ? { rls: { secret } } : {}
const login = Object.assign(new URL(superUrl), {
  username: `app_${new URL(superUrl).pathname.slice(1)}`,
  password: 'secret'
})

const admin = new pg.Client({ connectionString: superUrl })
await admin.connect()
await admin.query(`create table items (
  tenant_id text not null, id serial, title text not null, n int not null default 0,
  primary key (tenant_id, id))`)
const setup = createManager({
  database: { url: login.href, ownerUrl: superUrl },
  tables,
  isolation,
  ...rls,
  provision
})
await setup.init()
await setup.protect()
const tenants: Core.TenantRecord[] = []
for (let at = 0; at < tenantCount; at++)
  tenants.push(await setup.create({ id: `tenant-${at}`, slug: `slug-${at}` }))
await setup.close()
if (isolation !== 'schema') {
  await admin.query(`insert into items (tenant_id, id, title)
    select 'tenant-' || t, i, 'title ' || i from generate_series(0, ${
    tenantCount - 1
  }) t, generate_series(1, ${rows}) i`)
  await admin.query(`select setval(pg_get_serial_sequence('items', 'id'), ${rows})`)
}
await admin.query('vacuum analyze')
await admin.end()

async function provision ({ client }: { client: SqlClient }): Promise<void> {
  await client.query(
    `create table items (id serial primary key, title text not null, n int not null default 0)`
  )
  await client.query(
    `insert into items (id, title) select i, 'title ' || i from generate_series(1, ${rows}) i`
  )
  await client.query(`select setval(pg_get_serial_sequence('items', 'id'), ${rows})`)
}

const pool = new pg.Pool({
  connectionString: Object.assign(new URL(login), { host }).href,
  max: 10,
  idleTimeoutMillis: 0
})
pool.on('error', () => {})
const backends: number[] = []
pool.on('connect', client => {
  backends.push((client as unknown as { processID: number }).processID)
})
const opened = openDatabase(resolveDatabaseOptions({
  database: { url: pool, ...database },
  tables,
  isolation,
  ...rls,
  registry: memoryRegistry(tenants)
}))
await opened.boot()

const someId = (): number => 1 + Math.floor(Math.random() * (rows - 20))
const pieces: Readonly<Record<string, Piece>> = {
  one: db =>
    db.selectFrom('items').select(['id', 'title', 'n']).where('id', '=', someId()).executeTakeFirst(),
  list: db =>
    db.selectFrom('items').select(['id', 'title', 'n']).where('id', '>', someId()).orderBy('id').limit(20)
      .execute(),
  insert: db => db.insertInto('items').values({ title: 'a new one' }).returning('id').executeTakeFirst(),
  update: db =>
    db.updateTable('items').set(({ eb }) => ({ n: eb('n', '+', 1) })).where('id', '=', someId())
      .executeTakeFirst(),
  transaction: db =>
    db.transaction().execute(async trx => {
      for (const name of ['one', 'update', 'one', 'update', 'list'])
        await pieces[name]?.(trx as unknown as Db)
    }),
  raw: db => sql`select id, title, n from items where id = ${someId()}`.execute(db)
}

const silent = { info () {}, warn () {}, error () {} }
let turn = 0
async function request (piece: Piece): Promise<void> {
  const scope = new TenantScope(tenants[turn++ % tenantCount] as Core.TenantRecord, silent)
  await piece(opened.forScope(scope) as unknown as Db)
  scope.end()
}

// CPU time in nanoseconds, from the scheduler, which is finer than the ticks of /proc/<pid>/stat.
function serverCpu (): number {
  return backends.reduce((sum, pid) => {
    try {
      return sum + Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ', 1)[0]) / 1_000
    } catch {
      return Number.NaN
    }
  }, 0)
}

process.on('message', (name: string) => {
  const piece = pieces[name]
  if (piece === undefined) throw new Error(`there is no piece of work '${name}'`)
  drive(inFlight, () => request(piece), serverCpu).then(
    sample => process.send?.(sample),
    (error: unknown) => {
      console.error(error)
      process.exit(1)
    }
  )
})
process.on('disconnect', () => process.exit())
process.send?.('ready')
