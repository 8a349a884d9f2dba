import { InternalTypeError } from './errors.ts'
import { createHash } from 'node:crypto'

import { idProblem } from './id.ts'

/**
 * The only file in which a tenant id becomes part of a key or of an identifier. The id's alphabet
 * has none of `{ } : * ? [ ] " '`. So no id can extend beyond its place, and no two (id, rest)
 * pairs give the same key.
 */

const prefix = 'tenancy'

/** The purpose of a tenant's key, so that features never share a key. */
export type KeySpace =
  | 'cache'
  | 'cache-epoch'
  | 'cache-tag'
  | 'limit'
  | 'limit-client'
  | 'limit-route'
  | 'lock'

/**
 * Returns the Redis key of an object of one tenant: `tenancy:{<id>}:<space>:<rest>`. The braces are
 * a Cluster hash tag: all keys of a tenant share a slot, so one script may use several.
 *
 * `rest` may be any string. It comes last, so it cannot be read as another part.
 */
export function tenantKey (id: string, space: KeySpace, rest = ''): string {
  assertId(id)
  return `${prefix}:{${id}}:${space}:${rest}`
}

/** Returns the Redis key of a resolver record by its look-up key: `tenancy:<kind>:{<value>}`. */
export function lookupKey (kind: 'slug' | 'domain' | 'id', value: string): string {
  return `${prefix}:${kind}:{${hashTag(value)}}`
}

/**
 * Returns the Redis key of the lock for asking the registry for a name:
 * `tenancy:<kind>-lock:{<value>}`.
 */
export function lookupLockKey (kind: 'slug' | 'domain' | 'id', value: string): string {
  return `${prefix}:${kind}-lock:{${hashTag(value)}}`
}

/**
 * Returns the Redis key of a counter for one client address without a tenant:
 * `tenancy:address:{<address>}:<rest>`.
 */
export function addressKey (address: string, rest = ''): string {
  return `${prefix}:address:{${hashTag(address)}}:${rest}`
}

/** Returns the common prefix of all keys of one tenant: `tenancy:{<id>}:`. */
export function tenantKeyPrefix (id: string): string {
  assertId(id)
  return `${prefix}:{${id}}:`
}

/**
 * Puts a key or channel of this file into one installation: `tenancy:{<id>}:cache:k` becomes
 * `tenancy:<installation>:{<id>}:cache:k`.
 *
 * An installation's name has no colon and no brace. So no two installations share a key, and hash
 * tags do not change.
 *
 * @throws TypeError for a key that was not made here.
 */
export function installationKey (installation: string, key: string): string {
  return installationKeys(installation)(key)
}

/** Returns {@link installationKey} of one installation, for callers that make many keys. */
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

/**
 * Returns what is wrong with the name of an installation, as the end of a sentence, or undefined.
 */
export function installationProblem (name: unknown): string | undefined {
  return typeof name === 'string' && idProblem(name) === undefined
    ? undefined
    : 'must be 1 to 63 of A-Z, a-z, 0-9, _ and -'
}

/** The Redis key that is read to check whether Redis answers. It is never written. */
export const pulseKey: string = `${prefix}:pulse`

/** The Redis key of the list of processes that share limits. */
export const processesKey: string = `${prefix}:processes`

/** The Redis channel on which changes of tenants are announced. */
export const invalidationChannel: string = `${prefix}:invalidate`

/** The Redis channel on which changes of tables are announced. */
export const catalogChannel: string = `${prefix}:catalog`

/** The Redis channel on which processes announce that copies of cached values are outdated. */
export const cacheChannel: string = `${prefix}:cache`

/** The Redis channel on which the command asks running processes for the usage of tenants. */
export const usageChannel: string = `${prefix}:usage`

/**
 * Returns the Redis channel for the answers to one usage request:
 * `tenancy:usage-answer:{<question>}`.
 */
export function usageAnswerChannel (question: string): string {
  return `${prefix}:usage-answer:{${hashTag(question)}}`
}

/**
 * Returns the name of a tenant's own schema or role: `tenant_<id>`, or `tenanth_<hash of the id>`
 * if the name would exceed PostgreSQL's 63 bytes. PostgreSQL would cut such a name, and two cut
 * names can be equal.
 *
 * The two forms have different prefixes. Otherwise a tenant could choose another tenant's hash as
 * its id.
 */
export function tenantIdentifier (id: string): string {
  assertId(id)
  const name = `tenant_${id}`
  return name.length <= 63 ? name : `tenanth_${createHash('sha256').update(id).digest('hex').slice(0, 48)}`
}

/**
 * Returns the name of a tenant's own role in one database: `tenant_<id>_1f3a0c22`, or
 * `tenanth_<hash of the id>_1f3a0c22` if it would exceed 63 bytes. `tenancy.role_tenant()` builds
 * the same name in SQL.
 *
 * The database's hash has a fixed length and comes last, so no id can be read as another id
 * followed by a hash.
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
 * Returns the name of a role of the suite in one database: `tenancy_app_1f3a0c22`. Roles belong to
 * the whole server, so the name has a hash of the database's name: two databases must not share a
 * role.
 */
export function roleName (role: string, database: string): string {
  return `tenancy_${role}_${databaseHash(database)}`
}

/**
 * Returns the temporary name of a database that is being created: `tenancy_making_<hash of its
 * name>`. It has 47 bytes and is reserved for the suite.
 */
export function unreadyDatabase (database: string): string {
  return `tenancy_making_${createHash('sha256').update(database).digest('hex').slice(0, 32)}`
}

function databaseHash (database: string): string {
  return createHash('md5').update(database).digest('hex').slice(0, 8)
}

// Checks that the value has no braces. A brace would end the hash tag early, and keys that belong
// together would be in different slots.
function hashTag (value: string): string {
  if (/[{}]/.test(value)) throw new InternalTypeError('a look-up key must hold no braces')
  return value
}

function assertId (id: string): void {
  const problem = idProblem(id)
  if (problem !== undefined) throw new InternalTypeError(problem)
}
