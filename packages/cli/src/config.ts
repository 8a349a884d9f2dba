import { OptionInvalidError } from '@fastify-tenancy/core'
import type { ManagerOptions } from '@fastify-tenancy/manager'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/** What the command knows of the application. */
export interface CommandConfig {
  /** What the manager is made with. */
  readonly manager: ManagerOptions
  /** What must never be printed. */
  readonly secrets: readonly string[]
}

/** The flags that say where the configuration is. */
export interface ConfigFlags {
  readonly config?: string
  readonly databaseUrl?: string
  readonly redisUrl?: string
}

const names = ['tenancy.config.ts', 'tenancy.config.js', 'tenancy.config.json']

/** What the application is given, as far as it is read here. The manager checks it. */
interface SuiteOptions extends Partial<Record<Exclude<(typeof handedOn)[number], 'rls'>, unknown>> {
  readonly database?: unknown
  readonly redis?: unknown
  readonly rls?: { readonly secret?: string | readonly string[] }
  readonly resolver?: { readonly reserved?: readonly string[] }
}

const handedOn = ['isolation', 'rls', 'tables', 'baseDomain', 'hosts', 'namespace'] as const

// All options of the suite. What is misspelt would be an empty list of tables here, and refused by the application only.
const known: readonly string[] = [...handedOn, 'database', 'redis', 'resolver', 'row', 'registry', 'audit', 'rateLimit', 'cache', 'routes', 'closeTimeout', 'decorators']

/**
 * Reads `tenancy.config.{ts,js,json}`: its default export is what the application is given (`defineTenancy({ … })`), its export
 * `manager` what the manager alone needs (migrations, lifecycle steps, …). In JSON that is the key `manager`. `--database-url` and
 * `--redis-url` come before the file's own, and do without a file: then every table with a column `tenant_id` is a tenant's.
 *
 * @throws FST_TENANCY_OPTION_INVALID when there is no configuration, it cannot be loaded, exports nothing, or has an option that the application has not
 */
export async function loadConfig ({ config, databaseUrl, redisUrl }: ConfigFlags, folder: string): Promise<CommandConfig> {
  const file = config ?? (databaseUrl === undefined || names.some(name => existsSync(resolve(folder, name))) ? findFile(folder) : undefined)
  const { options, manager } = file === undefined
    ? { options: { tables: { tenant: 'auto' } }, manager: {} }
    : await readConfig(resolve(folder, file))
  const unknown = Object.keys(options).find(name => !known.includes(name))
  if (unknown !== undefined) throw new OptionInvalidError(`options.${unknown} is not a known option: remove it or mend its name`)
  const { database, redis, rls, resolver } = options
  const given = {
    ...Object.fromEntries(handedOn.map(name => [name, options[name]])),
    database: databaseUrl === undefined ? database : { ...(isPlain(database) ? database : {}), url: databaseUrl },
    redis: redisUrl ?? redis,
    reserved: resolver?.reserved,
    ...manager
  }
  return {
    manager: Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as unknown as ManagerOptions,
    secrets: rls?.secret === undefined ? [] : [rls.secret].flat()
  }
}

function findFile (folder: string): string {
  const found = names.find(name => existsSync(resolve(folder, name)))
  if (found === undefined) throw new OptionInvalidError(`there is no tenancy.config.{ts,js,json} in ${folder}: write one, name it with --config, or give --database-url`)
  return found
}

async function readConfig (path: string): Promise<{ options: Partial<SuiteOptions>, manager: object }> {
  if (!existsSync(path)) throw new OptionInvalidError(`there is no file ${path}: mend --config`)
  if (path.endsWith('.json')) {
    const { manager = {}, ...options } = parseJson(await readFile(path, 'utf8'), path)
    return { options, manager }
  }
  // Node 22.12 does not run TypeScript by itself.
  const { createJiti } = await import('jiti')
  const module = await createJiti(pathToFileURL(path).href, { interopDefault: false }).import<{ default?: SuiteOptions, manager?: object }>(path).catch((error: unknown) => {
    throw new OptionInvalidError(`${path} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  })
  if (typeof module.default !== 'object' || module.default === null || Array.isArray(module.default)) throw new OptionInvalidError(`${path} has no default export that is an object: export default defineTenancy({ … })`)
  return { options: module.default, manager: module.manager ?? {} }
}

function parseJson (text: string, path: string): Partial<SuiteOptions> & { manager?: object } {
  try {
    return JSON.parse(text) as Partial<SuiteOptions>
  } catch (error) {
    // The parser's own message quotes what stands around the place, which may be a secret.
    const place = /position \d+.*$/.exec(error instanceof Error ? error.message : '')
    throw new OptionInvalidError(`${path} is not JSON${place === null ? '' : ` at ${place[0]}`}: mend it`)
  }
}

// A URL or a pool alone names nothing to keep.
function isPlain (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
