import { quoteName, Script, type SqlClient } from '@fastify-tenancy/postgres/client'
import { listTables, viewNames, type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { ResolvedAdoptionOptions } from '../context/adopt-options.ts'
import { LockRetry } from '../context/lock-retry.ts'
import { backfill, backfillScript } from './backfill.ts'
import { decide } from './decisions.ts'
import { disagreements } from './disagreements.ts'
import { markStep, stepsOf } from './steps.ts'
import { Visit } from './visit.ts'

interface PrepareOptions {
  readonly tables: ResolvedTables
  /** The tables to prepare. @default all tenant tables */
  readonly only?: readonly string[] | undefined
  readonly adoption: ResolvedAdoptionOptions
  /** Called with the finished step of a table, and the number of its filled pages. */
  readonly onStep: (step: string, done?: number, total?: number) => void
}

/** The result of {@link prepare}. */
interface Prepared {
  readonly tables: readonly string[]
  /**
   * For each table, a sentence about the source of its tenants and the number of rows without one.
   */
  readonly sources: readonly string[]
}

/**
 * Adds a tenant column to every tenant table, fills it, makes it `not null` and indexes it, while
 * the application keeps working: see `stepsOf`. All decisions are required before anything changes.
 * An interrupted call is resumed from the state of the catalog.
 *
 * @param client one connection of a login that owns the tables; not through a pooler that shares
 *   connections
 * @throws FST_TENANCY_SETUP_INVALID
 */
export async function prepare (
  client: SqlClient,
  { tables: listed, only, adoption, onStep }: PrepareOptions
): Promise<Prepared> {
  const tables = await listTables(client, listed)
  const names = (only ?? Object.keys(tables.tenant).filter(name => adoption.backfill[name] !== false))
    .filter(name => !viewNames(tables.views).includes(name))
  const lockRetry = new LockRetry(client, {
    ...adoption,
    onWait: what => onStep(`${what}: waiting for its lock`)
  })
  // Long statements are expected here. The search path is that of the fill trigger, so that
  // expressions find the same tables.
  await client.query(`set statement_timeout = 0; set search_path = ${quoteName(tables.schema)}, pg_temp`)
  try {
    const visit = new Visit(client, tables, adoption)
    const { plans, sources } = await decide(client, visit, { tables, names, adoption })
    const marks = plans.filter(({ redo }) => redo !== undefined).map(plan => ({ plan, step: markStep(plan) }))
    for (const { plan, step } of marks)
      if (step !== undefined) await lockRetry.run(`${plan.table}: ${step.name}`, step.sql, step.isBlocking)
    for (const plan of plans) {
      for (const step of stepsOf(plan)) {
        const title = `${plan.table}: ${step.name}`
        if ('sql' in step) await lockRetry.run(title, step.sql, step.isBlocking)
        else if (client instanceof Script) await client.query(backfillScript(step))
        else await backfill(client, lockRetry, step, (done, total) => onStep(title, done, total))
        if ('sql' in step) onStep(title)
      }
    }
    for (const sql of await disagreements(client, tables, visit.prepared))
      await lockRetry.run('the tables agree', sql, false)
    return { tables: plans.map(({ table }) => table), sources }
  } finally {
    await lockRetry.end()
    await client.query('reset statement_timeout; reset search_path').catch(() => {})
  }
}
