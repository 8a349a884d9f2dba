import { InternalTypeError } from './errors.ts'
import { createHash } from 'node:crypto'

import { idProblem } from './id.ts'

/*
 * The only file in which a tenant id becomes part of a key or of an identifier.
 * Everything rests on the id's alphabet: it holds none of `{ } : * ? [ ] " '`, so that
 * no id can reach out of its place, and no two (id, rest) pairs give one key.
 */

const prefix = 'tenancy'

/** What a tenant's keys are for. One letter group each, so that features cannot meet in one key. */
export type KeySpace =
  | 'cache'
  | 'cache-epoch'
  | 'cache-tag'
  | 'limit'
  | 'limit-client'
  | 'limit-route'
  | 'lock'

/**
 * The Redis key of something that belongs to one tenant: `tenancy:{<id>}:<space>:<rest>`.
 * The braces are a Cluster hash tag: all keys of a tenant share a slot, so that one script may use several.
 * `rest` may be any string; it is last, so it cannot be taken for another part.
 */
export function tenantKey (id: string, space: KeySpace, rest = ''): string {
  assertId(id)
  return `${prefix}:{${id}}:${space}:${rest}`
}

/** The Redis key of a resolver record, by what it is looked up with: `tenancy:<kind>:{<value>}`. */
export function lookupKey (kind: 'slug' | 'domain' | 'id', value: string): string {
  return `${prefix}:${kind}:{${hashTag(value)}}`
}

/** The Redis key of the lock of whoever asks the registry for a name: `tenancy:<kind>-lock:{<value>}`. */
export function lookupLockKey (kind: 'slug' | 'domain' | 'id', value: string): string {
  return `${prefix}:${kind}-lock:{${hashTag(value)}}`
}

/** The Redis key of a counter for one client address without a tenant: `tenancy:address:{<address>}:<rest>`. */
export function addressKey (address: string, rest = ''): string {
  return `${prefix}:address:{${hashTag(address)}}:${rest}`
}

/** What all keys of one tenant begin with: `tenancy:{<id>}:`. */
export function tenantKeyPrefix (id: string): string {
  assertId(id)
  return `${prefix}:{${id}}:`
}

/**
 * Puts a key or channel of this file into one installation: `tenancy:{<id>}:cache:k` becomes `tenancy:<installation>:{<id>}:cache:k`.
 * The alphabet of an installation's id has no colon and no brace: no two installations share a key, and hash tags stay what they are.
 *
 * @throws TypeError for a key that was not made here.
 */
export function installationKey (installation: string, key: string): string {
  return installationKeys(installation)(key)
}

/** {@link installationKey} of one installation, for callers that make many. */
export function installationKeys (installation: string): (key: string) => string {
  const problem = installationProblem(installation)
  if (problem !== undefined) throw new InternalTypeError(`the name of an installation ${problem}`)
  const start = `${prefix}:`
  const head = `${prefix}:${installation}:`
  return key => {
    if (!key.startsWith(start)) throw new InternalTypeError("a key of Redis must be made by core's key.ts")
    return head + key.slice(start.length)
  }
}

/** Says what is wrong with the name of an installation, in words that finish a sentence; undefined when nothing is. */
export function installationProblem (name: unknown): string | undefined {
  return typeof name === 'string' && idProblem(name) === undefined
    ? undefined
    : 'must be 1 to 63 of A-Z, a-z, 0-9, _ and -'
}

/** The Redis key that is read to see whether Redis answers. Nothing is stored there. */
export const pulseKey: string = `${prefix}:pulse`

/** The Redis key under which the processes that share limits are counted. */
export const processesKey: string = `${prefix}:processes`

/** The Redis channel on which changes of tenants are announced. */
export const invalidationChannel: string = `${prefix}:invalidate`

/** The Redis channel on which changes of tables are announced. */
export const catalogChannel: string = `${prefix}:catalog`

/** The Redis channel on which processes tell each other that copies of cached values are old. */
export const cacheChannel: string = `${prefix}:cache`

/** The Redis channel on which the command asks running processes what tenants use. */
export const usageChannel: string = `${prefix}:usage`

/** The Redis channel on which processes answer one question: `tenancy:usage-answer:{<question>}`. */
export function usageAnswerChannel (question: string): string {
  return `${prefix}:usage-answer:{${hashTag(question)}}`
}

/**
 * The name of a tenant's own schema or role: `tenant_<id>`, or `tenanth_<hash of the id>`
 * where the name would pass PostgreSQL's 63 bytes and be cut (two cut names can be one).
 * The two forms begin differently: else a tenant could choose another's hash as its id.
 */
export function tenantIdentifier (id: string): string {
  assertId(id)
  const name = `tenant_${id}`
  return name.length <= 63 ? name : `tenanth_${createHash('sha256').update(id).digest('hex').slice(0, 48)}`
}

/**
 * The name of a tenant's own role in one database: `tenant_<id>_1f3a0c22`, or `tenanth_<hash of the id>_1f3a0c22`
 * where the name would pass PostgreSQL's 63 bytes. `tenancy.role_tenant()` makes the same name in SQL.
 * The database's hash is of one length and comes last, so that no id can be read as another id with a hash behind it.
 */
export function tenantRole (id: string, database: string): string {
  assertId(id)
  const suffix = databaseHash(database)
  const name = `tenant_${id}_${suffix}`
  return name.length <= 63
    ? name
    : `tenanth_${createHash('sha256').update(id).digest('hex').slice(0, 46)}_${suffix}`
}

/**
 * The name of a role of the suite in one database: `tenancy_app_1f3a0c22`.
 * Roles belong to the whole server, so each carries a hash of its database's name: two databases must not share one.
 */
export function roleName (role: string, database: string): string {
  return `tenancy_${role}_${databaseHash(database)}`
}

/** The name of a database until it is ready for its own: `tenancy_making_<hash of that>`. Of 47 bytes, and nobody else's to use. */
export function unreadyDatabase (database: string): string {
  return `tenancy_making_${createHash('sha256').update(database).digest('hex').slice(0, 32)}`
}

function databaseHash (database: string): string {
  return createHash('md5').update(database).digest('hex').slice(0, 8)
}

// A brace inside would end the hash tag early, and so send keys that belong together to different slots.
function hashTag (value: string): string {
  if (/[{}]/.test(value)) throw new InternalTypeError('a look-up key must hold no braces')
  return value
}

function assertId (id: string): void {
  const problem = idProblem(id)
  if (problem !== undefined) throw new InternalTypeError(problem)
}
