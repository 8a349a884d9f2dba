// `npm run soak [statements]`: fifty tenants by turns with room for two pools, and the connections
// that the server counted.
import { toTenant, memoryRegistry } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openDatabase } from '@fastify-tenancy/database'
import { resolveDatabaseOptions } from '@fastify-tenancy/database/options'
import { sql } from 'kysely'
import { randomBytes } from 'node:crypto'
import pg from 'pg'

import { startPostgres } from '../support/services.ts'
import { until } from '../support/until.ts'

/** The result of a run. */
export interface Soak {
  /** Number of replies that another tenant's connection gave. */
  readonly wrong: number
  readonly errors: readonly unknown[]
  /** The highest number of connections that the server had at once. */
  readonly most: number
  /** Connections at the end, before and after the database was closed. */
  readonly kept: number
  readonly left: number
}

/** Connections that the process may have. The server refuses one more. */
export const budget = 4
const tenantCount = 50
const inFlight = 8

/**
 * Runs the soak.
 * @param url a superuser's
 */
export async function soak (url: string, statements: number): Promise<Soak> {
  const admin = new pg.Client({ connectionString: url })
  await admin.connect()
  const login = `soak_${randomBytes(6).toString('hex')}`
  // The server enforces the limit, so the process cannot exceed it unnoticed.
  await admin.query(`create role ${login} login password 'secret' connection limit ${budget}`)
  const own = Object.assign(new URL(url), { username: login, password: 'secret' }).href
  const database = openDatabase(resolveDatabaseOptions({
    isolation: 'database',
    registry: memoryRegistry([]),
    database: {
      url: own,
      budget,
      tenants: {
        maxPools: 2,
        pool: { max: 1 },
        url: ({ id }: { id: string }) => `${own}?options=${encodeURIComponent(`-c soak.home=${id}`)}`
      }
    }
  }))
  await database.boot()
  const tenants = Array.from(
    { length: tenantCount },
    (_, n) => toTenant({ id: `t${n}`, slug: `tenant-${n}` })
  )
  const connections = async (): Promise<number> =>
    (await admin.query('select from pg_stat_activity where usename = $1', [login])).rowCount ?? 0
  let next = 0
  let wrong = 0
  let most = 0
  const errors: unknown[] = []

  async function work (): Promise<void> {
    for (let n = next++; n < statements; n = next++) {
      const tenant = tenants[n % tenantCount]
      if (tenant === undefined) return
      const scope = new TenantScope(tenant, { info () {}, warn () {}, error () {} })
      try {
        const { rows: [row] } = await sql<{ home: string }>`select current_setting('soak.home') as home`
          .execute(database.forScope(scope))
        if (row?.home !== tenant.id) wrong++
      } catch (error) {
        errors.push(error)
      }
      scope.end()
      if (n % 10 === 0) most = Math.max(most, await connections())
    }
  }

  try {
    await Promise.all(Array.from({ length: inFlight }, work))
    await until(async () => await connections() <= 3).catch(() => {})
    const kept = await connections()
    await database.close()
    await until(async () => await connections() === 0).catch(() => {})
    return { wrong, errors, most, kept, left: await connections() }
  } finally {
    await database.close()
    await admin.query(`drop role ${login}`)
    await admin.end()
  }
}

if (import.meta.main) {
  const statements = Number(process.argv[2] ?? 50_000)
  const server = process.env.TEST_DATABASE_URL === undefined ? await startPostgres() : undefined
  const began = performance.now()
  const { errors, ...seen } = await soak(process.env.TEST_DATABASE_URL ?? server?.url ?? '', statements)
  console.log({
    statements,
    seconds: Math.round((performance.now() - began) / 1000),
    budget,
    ...seen,
    errors: errors.length,
    first: errors[0]
  })
  await server?.stop()
  process.exitCode = seen.wrong + errors.length + seen.left === 0 && seen.most <= budget ? 0 : 1
}
