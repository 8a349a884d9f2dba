import { OptionInvalidError } from '@fastify-tenancy/core'
import type { ManagerOptions } from '@fastify-tenancy/manager'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/** The configuration of one command. */
export interface CommandConfig {
  /** The options of the manager. */
  readonly manager: ManagerOptions
  /** Texts that must never be printed. */
  readonly secrets: readonly string[]
  /** The limits file, as an absolute path; undefined if the configuration names none. */
  readonly limitsFile: string | undefined
  /** Notices for the user about how flags and file were combined. */
  readonly remarks: readonly string[]
}

/** The flags that locate the configuration. */
export interface ConfigFlags {
  readonly config?: string
  readonly databaseUrl?: string
  readonly redisUrl?: string
}

const names = ['tenancy.config.ts', 'tenancy.config.js', 'tenancy.config.json']

/** The application's options, as far as they are read here. The manager validates them. */
interface SuiteOptions extends Partial<Record<Exclude<(typeof handedOn)[number], 'rls'>, unknown>> {
  readonly database?: unknown
  readonly redis?: unknown
  readonly rls?: { readonly secret?: string | readonly string[] }
  readonly resolver?: { readonly reserved?: readonly string[] }
  readonly rateLimit?: unknown
}

const handedOn = ['isolation', 'rls', 'row', 'tables', 'baseDomain', 'hosts', 'namespace'] as const

// All options of the suite. An unknown name is refused, because a misspelt `tables` would otherwise
// mean an empty list of tables here.
const known: readonly string[] = [...handedOn, 'database', 'redis', 'resolver', 'registry', 'audit',
  'rateLimit', 'cache', 'routes', 'closeTimeout', 'decorators']

/**
 * Reads `tenancy.config.{ts,js,json}`. Its default export holds the application's options
 * (`defineTenancy({ … })`). Its export `manager` (in JSON the key `manager`) holds options that
 * only the manager needs: migrations, lifecycle steps and so on.
 *
 * `--database-url` replaces all databases of the file: its other logins, shards and tenants'
 * databases. It also drops the file's Redis, which belongs to those databases; `--redis-url` names
 * another Redis. Without a file, every table with a column `tenant_id` is a tenant table.
 *
 * @throws FST_TENANCY_OPTION_INVALID if there is no configuration, it cannot be loaded, exports
 * nothing, has an unknown option, or cannot be used with `--database-url`
 */
export async function loadConfig (
  { config, databaseUrl, redisUrl }: ConfigFlags,
  folder: string
): Promise<CommandConfig> {
  const isFileWanted = databaseUrl === undefined || names.some(name => existsSync(resolve(folder, name)))
  const file = config ?? (isFileWanted ? findFile(folder) : undefined)
  const { options, manager } = file === undefined
    ? { options: { tables: { tenant: 'auto' } }, manager: {} }
    : await readConfig(resolve(folder, file))
  const unknown = Object.keys(options).find(name => !known.includes(name))
  if (unknown !== undefined)
    throw new OptionInvalidError(`options.${unknown} is not a known option: remove it or mend its name`)
  const { database, redis, rls, resolver } = options
  const read: Record<string, unknown> = {
    ...Object.fromEntries(handedOn.map(name => [name, options[name]])),
    database,
    redis,
    reserved: resolver?.reserved,
    ...manager
  }
  const wanted = databaseUrl === undefined
    ? read
    : { ...read, ...onlyDatabase(read, databaseUrl), redis: undefined }
  if (redisUrl !== undefined) wanted.redis = redisUrl
  return {
    manager: Object.fromEntries(
      Object.entries(wanted).filter(([, value]) => value !== undefined)
    ) as unknown as ManagerOptions,
    secrets: rls?.secret === undefined ? [] : [rls.secret].flat(),
    limitsFile: limitsFileOf(options.rateLimit, folder),
    remarks: read.redis !== undefined && wanted.redis === undefined
      ? [
        'the Redis of the configuration is not used, because --database-url names another database: ' +
        'name its Redis with --redis-url'
      ]
      : []
  }
}

function limitsFileOf (rateLimit: unknown, folder: string): string | undefined {
  const file = isPlain(rateLimit) ? rateLimit.file : rateLimit
  return typeof file === 'string' ? resolve(folder, file) : undefined
}

// Options that suit every database. Options that name a database, a login or a pool are left out.
const kept = ['pool', 'plugins', 'types', 'statementTimeout', 'lockTimeout', 'idleInTransaction',
  'allowEmbedded'] as const

/** Returns a database option that reaches only the database of `--database-url`. */
function onlyDatabase (
  { database, isolation }: Record<string, unknown>,
  url: string
): { readonly database: object } {
  if (isolation === 'database') {
    throw new OptionInvalidError(
      '--database-url names one database, and the configuration keeps each tenant in a database ' +
        'of its own: name a configuration with --config instead'
    )
  }
  const settings = isPlain(database) ? database : {}
  return {
    database: {
      ...Object.fromEntries(
        kept.map(name => [name, settings[name]]).filter(([, value]) => value !== undefined)
      ),
      url
    }
  }
}

function findFile (folder: string): string {
  const found = names.find(name => existsSync(resolve(folder, name)))
  if (found === undefined)
    throw new OptionInvalidError(
      `there is no tenancy.config.{ts,js,json} in ${folder}: ` +
        'write one, name it with --config, or use --database-url'
    )
  return found
}

async function readConfig (path: string): Promise<{ options: Partial<SuiteOptions>; manager: object }> {
  if (!existsSync(path)) throw new OptionInvalidError(`there is no file ${path}: correct --config`)
  if (path.endsWith('.json')) {
    const { manager = {}, ...options } = parseJson(await readFile(path, 'utf8'), path)
    return { options, manager }
  }
  // Node 22.12 cannot run TypeScript itself.
  const { createJiti } = await import('jiti')
  const module = await createJiti(pathToFileURL(path).href, { interopDefault: false }).import<
    { default?: SuiteOptions; manager?: object }
  >(path).catch((error: unknown) => {
    throw new OptionInvalidError(
      `${path} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error }
    )
  })
  if (typeof module.default !== 'object' || module.default === null || Array.isArray(module.default))
    throw new OptionInvalidError(
      `${path} has no default export that is an object: export default defineTenancy({ … })`
    )
  return { options: module.default, manager: module.manager ?? {} }
}

function parseJson (text: string, path: string): Partial<SuiteOptions> & { manager?: object } {
  try {
    return JSON.parse(text) as Partial<SuiteOptions>
  } catch (error) {
    // The parser's own message quotes the text around the mistake, which may be a secret.
    const place = /position \d+.*$/.exec(error instanceof Error ? error.message : '')
    throw new OptionInvalidError(`${path} is not JSON${place === null ? '' : ` at ${place[0]}`}: correct it`)
  }
}

// Whether the value is an options object. A URL or a pool has no settings to keep.
function isPlain (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
