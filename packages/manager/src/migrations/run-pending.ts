import type { SqlClient } from '@fastify-tenancy/postgres/client'

import type { LoadedMigration } from './read-migrations.ts'
import { runInTransaction, type TransactionalRun } from './run-in-transaction.ts'
import { runOutsideTransaction } from './run-outside-transaction.ts'

/**
 * Runs the pending migrations of one target in order. Consecutive transactional ones share a
 * transaction; each other one runs alone.
 *
 * @param ran called with the migrations of each group after it has run
 */
export async function runPending (
  client: SqlClient,
  { migrations, seen, ...input }: Omit<TransactionalRun, 'direction' | 'start'>,
  ran: (group: readonly LoadedMigration[]) => void
): Promise<void> {
  const applied = [...seen]
  for (const group of grouped(migrations)) {
    const [first] = group
    if (first?.isNonTransactional === true)
      await runOutsideTransaction(client, { ...input, seen: applied, migration: first })
    else await runInTransaction(client, { ...input, seen: applied, direction: 'up', migrations: group })
    applied.push(...group)
    ran(group)
  }
}

function grouped (migrations: readonly LoadedMigration[]): LoadedMigration[][] {
  const groups: LoadedMigration[][] = []
  for (const [index, migration] of migrations.entries()) {
    const isNew = migration.isNonTransactional || migrations[index - 1]?.isNonTransactional !== false
    if (isNew) groups.push([migration])
    else groups.at(-1)?.push(migration)
  }
  return groups
}
