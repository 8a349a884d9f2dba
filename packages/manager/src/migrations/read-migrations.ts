import { FileMigrationProvider, type Migration, type MigrationProvider } from 'kysely/migration'
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

import { MigrationInvalidError } from './errors.ts'

/** A migration as it is loaded now. */
export interface LoadedMigration {
  /** The file's name without its extension, or the provider's key. */
  readonly name: string
  /** SHA-256 of the file, or of the source of `up` and `down` if a provider returned them. */
  readonly checksum: string
  readonly migration: Migration
  /** Whether it runs outside a transaction, because it has `export const transaction = false`. */
  readonly isNonTransactional: boolean
}

/**
 * Returns all migrations of a folder or a provider, ordered by name, which is the order of
 * execution. Each call reads them again. A file that has changed is imported again, so that the
 * code matches its checksum.
 *
 * @throws FST_TENANCY_MIGRATION_INVALID for a folder that cannot be read, or a file that is not a
 *   migration
 */
export async function readMigrations (source: string | MigrationProvider): Promise<LoadedMigration[]> {
  const loaded = typeof source === 'string'
    ? await readFolder(path.resolve(source))
    : await readProvider(source)
  return loaded.toSorted((a, b) => a.name < b.name ? -1 : 1)
}

async function readProvider (provider: MigrationProvider): Promise<LoadedMigration[]> {
  const migrations = Object.entries(await provider.getMigrations())
  return migrations.map(([name, migration]) => ({
    name,
    migration,
    isNonTransactional: isNonTransactional(name, migration),
    checksum: sha256(`${migration.up.toString()}\n${migration.down?.toString() ?? ''}`)
  }))
}

async function readFolder (folder: string): Promise<LoadedMigration[]> {
  const checksums = new Map<string, string>()
  const provider = new FileMigrationProvider({
    fs: { readdir: folder => readdir(folder) },
    path,
    migrationFolder: folder,
    import: async file => {
      const name = path.parse(file).name
      if (checksums.has(name))
        throw new MigrationInvalidError(
          `there are two migrations named '${name}' in ${folder}: remove one`
        )
      // Normalizes line ends, because git may check the file out with CRLF.
      const checksum = sha256((await readFile(file, 'utf8')).replaceAll('\r\n', '\n'))
      checksums.set(name, checksum)
      return import(`${pathToFileURL(file).href}?${checksum}`)
    },
    // Fails instead of silently skipping the file.
    onFileIgnored (file, reason) {
      if (reason === 'NotMigration')
        throw new MigrationInvalidError(
          `${path.join(folder, file)} exports no function up: add one, or move the file out of the folder`
        )
    }
  })
  const migrations = await provider.getMigrations().catch((cause: unknown) => {
    if (cause instanceof MigrationInvalidError) throw cause
    throw new MigrationInvalidError(`the migrations in ${folder} cannot be read: ${hintOf(cause)}`, { cause })
  })
  return Object.entries(migrations).map(([name, migration]) => ({
    name,
    migration,
    isNonTransactional: isNonTransactional(name, migration),
    checksum: checksums.get(name) ?? ''
  }))
}

// Rejects other values, because a misspelt one would run the statements in a transaction.
function isNonTransactional (
  name: string,
  migration: Migration & { readonly transaction?: unknown }
): boolean {
  const { transaction = true } = migration
  if (typeof transaction !== 'boolean')
    throw new MigrationInvalidError(
      `migration '${name}' exports a transaction that is neither true nor false: ` +
        'write `export const transaction = false`, or remove it'
    )
  return !transaction
}

function hintOf (error: unknown): string {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'the folder does not exist, or a file in it imports a missing module'
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION')
    return 'this Node.js version cannot load TypeScript: ' +
      'use Node.js 22.18 or later, or compile the migrations'
  return error instanceof Error ? error.message : String(error)
}

function sha256 (text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
