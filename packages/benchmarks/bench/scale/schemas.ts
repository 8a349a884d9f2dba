// 1,000 schemas of ten tables in one database: migrations, statements, and the memory of a backend
// that has visited all of them.
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { createManager } from '@fastify-tenancy/manager'
import { postgresRegistry } from '@fastify-tenancy/postgres/registry'
import type { TenantRecord } from '@fastify-tenancy/core'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { readFileSync } from 'node:fs'
import pg from 'pg'

import { count, repeated, scaleServer, scopeOf, timed, type PartTable } from './part.ts'

const tables = Array.from({ length: 10 }, (_, at) => `table_${at}`)

export async function schemas (isShort: boolean): Promise<PartTable> {
  const many = isShort ? 20 : 1_000
  const server = await scaleServer('-c', 'max_locks_per_transaction=1024')
  const migrations: Record<string, Migration> = {
    0: {
      async up (db) {
        for (const table of tables)
          await db.schema.createTable(table).addColumn('id', 'serial', column => column.primaryKey())
            .addColumn('body', 'text').execute()
      }
    }
  }
  const options = {
    isolation: 'schema' as const,
    database: { url: server.appUrl, ownerUrl: server.url }
  }
  const manager = createManager({
    ...options,
    migrations: { tenant: { getMigrations: async () => migrations } }
  })
  await manager.init()
  const creating = await timed(async () => {
    for (let at = 1; at <= many; at++) await manager.create({ slug: `s-${at}` })
  })
  migrations[1] = {
    async up (db) {
      for (const table of tables) await db.schema.alterTable(table).addColumn('more', 'text').execute()
    }
  }
  const migrating = await timed(() => manager.migrate({ jobs: 8 }))
  const owner = new pg.Pool({ connectionString: server.url, max: 1 })
  const tenants: TenantRecord[] = []
  for await (const tenant of postgresRegistry(owner).list()) tenants.push(tenant)
  const visits = await visit(server.appUrl, tenants, many)
  const { rows: [size] } = await server.admin.query<{ mb: string }>(
    'select round(sum(pg_total_relation_size(oid)) / 2 ^ 20)::text as mb from pg_class ' +
      "where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'"
  )
  await Promise.all([owner.end(), manager.close()])
  await server.stop()
  const each = (ms: number): string => `${(ms / many).toFixed(1)} ms a schema`
  return {
    title: `${count(many)} schemas of ${tables.length} tables`,
    head: ['', ''],
    rows: [
      ['created with their tables, one after another', each(creating)],
      ['a column for each table, 8 workers', each(migrating)],
      ['the first statement of each tenant, p50', `${visits.other.p50.toFixed(2)} ms`],
      ['a statement, always one tenant, p50', `${visits.same.p50.toFixed(2)} ms`],
      ['memory of the backend that ran the checks of the boot', `${visits.booted.toFixed(1)} MB`],
      ['memory of a backend that served one tenant', `${visits.one.toFixed(1)} MB`],
      ['most memory of a backend that serves one tenant after another', `${visits.most.toFixed(1)} MB`],
      ['catalog', `${size?.mb} MB`]
    ]
  }
}

interface Visits {
  readonly other: { readonly p50: number }
  readonly same: { readonly p50: number }
  /** Megabytes of the backend after the checks of the boot. */
  readonly booted: number
  /** Of another backend that served one tenant, and the most of those that served all. */
  readonly one: number
  readonly most: number
}

async function visit (url: string, tenants: readonly TenantRecord[], many: number): Promise<Visits> {
  const pool = new pg.Pool({ connectionString: url, max: 1 })
  let pid = 0
  pool.on('connect', client => {
    pid = (client as unknown as { processID: number }).processID
  })
  const database = openDatabase(
    resolveDatabaseOptions({ isolation: 'schema', database: { url: pool }, registry: noRegistry })
  )
  await database.boot()
  const ask = async (tenant: TenantRecord | undefined): Promise<void> => {
    if (tenant === undefined) throw new Error('there are fewer tenants than were created')
    const scope = scopeOf(tenant)
    await sql`select count(*) from table_0`.execute(database.forScope(scope))
    scope.end()
  }
  const booted = megabytesOf(pid)
  const fresh = await pool.connect()
  fresh.release(true) // the next connection has not run the checks of the boot
  await ask(tenants[0])
  const same = await repeated(many, () => ask(tenants[0]))
  const one = megabytesOf(pid)
  let most = one
  const other = await repeated(many, async turn => {
    await ask(tenants[turn])
    if (turn % 10 === 0) most = Math.max(most, megabytesOf(pid))
  })
  await database.close()
  await pool.end()
  return { other, same, booted, one, most }
}

/** The statements name their tenant, so no registry is read. */
const noRegistry = {
  findBySlug: async () => undefined,
  findByDomain: async () => undefined,
  findById: async () => undefined,
  async *list () {},
  insert: () => Promise.reject(new Error('not here')),
  update: () => Promise.reject(new Error('not here'))
}

/** Returns the private memory of a process. Linux only. */
function megabytesOf (pid: number): number {
  try {
    const kilobytes = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return Number(kilobytes) / 1_024
  } catch {
    return Number.NaN
  }
}
