import { FileMigrationProvider, type Migration, type MigrationProvider } from 'kysely/migration'
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

import { MigrationInvalidError } from './errors.ts'

/** A migration as it is now. */
export interface LoadedMigration {
  /** The file's name without its extension, or the provider's key. */
  readonly name: string
  /** SHA-256 of the file, or of the source of `up` and `down` where a provider gives them. */
  readonly checksum: string
  readonly migration: Migration
  /** Whether it runs outside a transaction, because it says `export const transaction = false`. */
  readonly isNonTransactional: boolean
}

/**
 * All migrations of a folder or a provider, in the order in which they run: by name. Read anew at each call; a file that was
 * changed since is imported anew, so that what runs is what its checksum is of.
 *
 * @throws FST_TENANCY_MIGRATION_INVALID for a folder that cannot be read, and a file that is no migration
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
          `there are two migrations of the name '${name}' in ${folder}: remove one`
        )
      // The same file has other line ends where git makes them so.
      const checksum = sha256((await readFile(file, 'utf8')).replaceAll('\r\n', '\n'))
      checksums.set(name, checksum)
      return import(`${pathToFileURL(file).href}?${checksum}`)
    },
    // One that was left out in silence would be missed by everybody.
    onFileIgnored (file, reason) {
      if (reason === 'NotMigration')
        throw new MigrationInvalidError(
          `${path.join(folder, file)} exports no function up: give it one, or move it out of the folder`
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

// A word that is not understood would run the statement where it was not to.
function isNonTransactional (
  name: string,
  migration: Migration & { readonly transaction?: unknown }
): boolean {
  const { transaction = true } = migration
  if (typeof transaction !== 'boolean')
    throw new MigrationInvalidError(
      `migration '${name}' exports a transaction that is neither true nor false: write \`export const transaction = false\`, or leave it out`
    )
  return !transaction
}

function hintOf (error: unknown): string {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'there is no such folder, or a file in it imports what is not there'
  if (code === 'ERR_UNKNOWN_FILE_EXTENSION')
    return 'this Node reads no TypeScript: take Node 22.18 or later, or compile them'
  return error instanceof Error ? error.message : String(error)
}

function sha256 (text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
