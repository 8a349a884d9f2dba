// Runs files as Kysely's Migrator does.
import { Kysely, PostgresDialect } from 'kysely'
import { Migrator, type Migration } from 'kysely/migration'
import pg from 'pg'
import type { Test } from 'tap'

/** Runs migrations, given by name, in the order of their names. */
export async function migrate (
  t: Test,
  url: string,
  files: Record<string, string>,
  disableTransactions = false
): Promise<void> {
  const folder = t.testdir(files)
  const migrations: Record<string, Migration> = {}
  for (const name of Object.keys(files)) migrations[name] = await import(`${folder}/${name}`) as Migration
  const db = new Kysely<unknown>({
    dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 2 }) })
  })
  try {
    const migrator = new Migrator({
      db,
      disableTransactions,
      migrationTableSchema: 'kysely',
      provider: { getMigrations: async () => migrations }
    })
    const { error } = await migrator.migrateToLatest()
    if (error !== undefined) throw error
  } finally {
    await db.destroy()
  }
}
