import type { SqlClient } from '@fastify-tenancy/database'

import type { LoadedMigration } from './read-migrations.ts'
import { runAlone } from './run-alone.ts'
import { runInPlace, type InPlace } from './run-in-place.ts'

/**
 * Runs what is pending in one place, in its order: what runs in transactions together, and each of the others by itself.
 *
 * @param ran told of those that have run, group by group
 */
export async function runPending (
  client: SqlClient,
  { migrations, seen, ...input }: Omit<InPlace, 'direction' | 'start'>,
  ran: (group: readonly LoadedMigration[]) => void
): Promise<void> {
  const applied = [...seen]
  for (const group of grouped(migrations)) {
    const [first] = group
    if (first?.isAlone === true) await runAlone(client, { ...input, seen: applied, migration: first })
    else await runInPlace(client, { ...input, seen: applied, direction: 'up', migrations: group })
    applied.push(...group)
    ran(group)
  }
}

function grouped (migrations: readonly LoadedMigration[]): LoadedMigration[][] {
  const groups: LoadedMigration[][] = []
  for (const [index, migration] of migrations.entries()) {
    const isNew = migration.isAlone || migrations[index - 1]?.isAlone !== false
    if (isNew) groups.push([migration])
    else groups.at(-1)?.push(migration)
  }
  return groups
}
