import { isolations, OptionInvalidError, type TenantRegistry } from '@fastify-tenancy/core'
import { bool, checkOptions, fn, instance, nonEmptyString, oneOf, positiveInteger, secretSchema,
  timeout } from '@fastify-tenancy/core/options'
import { isEmbedded, isEmbeddedPool, pool, serverUrl, source } from '@fastify-tenancy/postgres/client'
import type { ResolvedTables } from '@fastify-tenancy/postgres/tables'
import type { KyselyPlugin, LogConfig } from 'kysely'
import type pg from 'pg'
import * as v from 'valibot'

import type { Audit } from './audit.ts'
import type { ResolvedDatabaseOptions } from './options.ts'
import { budgetSchema, shardsSchema, tenantsSchema } from './placement-options.ts'
import { isPlainName } from './plain-name.ts'

const names = v.array(nonEmptyString, 'must be a list of table names')

const shareMessage = 'must be a number above 0 and at most 1'

const functionMessage =
  "must be a list of names of functions in lower case, such as 'slugify' or 'app.slugify'"
const functionName = v.pipe(v.string(functionMessage), v.check(isPlainName, functionMessage))

// By what was given, and not by union: so that a wrong plan is named in the message.
const timeoutsByPlan = v.strictObject({
  default: v.exactOptional(timeout, '30s'),
  plans: v.record(v.string(), timeout, 'must be a map of plans to durations')
})
const statementTimeout = v.lazy(input =>
  typeof input === 'object' && input !== null
    ? timeoutsByPlan
    : v.pipe(timeout, v.transform(time => ({ default: time, plans: {} as Record<string, number> })))
)

const connection = v.strictObject({
  url: source,
  tenantRolesUrl: v.optional(serverUrl),
  globalUrl: v.optional(serverUrl),
  registryUrl: v.optional(serverUrl),
  systemUrl: v.optional(serverUrl),
  ownerUrl: v.optional(serverUrl),
  shards: v.optional(shardsSchema, {}),
  tenants: v.optional(tenantsSchema),
  budget: v.optional(budgetSchema, 100),
  pool: v.optional(v.strictObject({ max: v.optional(positiveInteger, 10) }), {}),
  plugins: v.optional(
    v.array(
      instance<KyselyPlugin>('a Kysely plugin', 'transformQuery', 'transformResult'),
      'must be a list of Kysely plugins'
    ),
    []
  ),
  log: v.optional(
    v.custom<LogConfig>(
      value => typeof value === 'function' || Array.isArray(value),
      'must be a function or a list of levels'
    )
  ),
  types: v.optional(instance<pg.CustomTypesConfig>('an object with getTypeParser()', 'getTypeParser')),
  statementTimeout: v.optional(statementTimeout, '30s'),
  lockTimeout: v.optional(timeout, '5s'),
  idleInTransaction: v.optional(timeout, '10s'),
  plans: v.optional(oneOf('custom', 'shared'), 'custom'),
  reset: v.optional(oneOf('auto', 'always'), 'auto'),
  fairness: v.optional(
    v.strictObject({
      share: v.optional(
        v.pipe(v.number(shareMessage), v.gtValue(0, shareMessage), v.maxValue(1, shareMessage)),
        0.5
      ),
      maxWaiting: v.optional(positiveInteger, 100),
      maxWait: v.optional(timeout, '5s')
    }, 'must be an object'),
    {}
  ),
  tripwire: v.optional(bool, true),
  tagStatements: v.optional(bool, false),
  requireLevel: v.optional(v.picklist([0, 1, 2, 3, 4], 'must be a level from 0 to 4'), 0),
  doctor: v.optional(
    v.union([v.picklist(['refuse', 'warn']), v.literal(false)], "must be one of 'refuse', 'warn', false"),
    'warn'
  ),
  requireMigration: v.optional(nonEmptyString),
  observe: v.optional(v.array(pool, 'must be a list of pg.Pools')),
  allowEmbedded: v.optional(bool, false)
}, 'must be a URL, a pg.Pool or an object with a url')

const schema = v.strictObject({
  database: connection,
  isolation: v.optional(oneOf(...isolations), 'rls'),
  rls: v.optional(
    v.strictObject({
      secret: v.optional(secretSchema),
      filter: v.optional(bool, false),
      context: v.optional(oneOf('setting', 'role'), 'setting')
    }),
    {}
  ),
  row: v.optional(v.strictObject({ functions: v.optional(v.array(functionName, functionMessage), []) }), {}),
  tables: v.optional(
    v.strictObject({
      tenant: v.optional(
        v.union(
          [v.literal('auto'), names, v.record(v.string(), nonEmptyString)],
          "must be a list of table names, a map of names to their tenant columns, or 'auto'"
        ),
        []
      ),
      shared: v.optional(names, []),
      global: v.optional(names, []),
      column: v.optional(nonEmptyString, 'tenant_id'),
      schema: v.optional(nonEmptyString, 'public'),
      extensionSchemas: v.exactOptional(v.array(nonEmptyString, 'must be a list of schema names'))
    }),
    {}
  ),
  registry: v.optional(
    instance<TenantRegistry>('a TenantRegistry', 'findBySlug', 'findByDomain', 'findById')
  ),
  audit: v.optional(fn<Audit>()),
  decorator: v.optional(nonEmptyString, 'db')
})

/** @param name the caller's name of the object, for messages */
export function resolveDatabaseOptions (input: unknown, name = 'options'): ResolvedDatabaseOptions {
  const { database, isolation, rls, row, tables, registry, audit, decorator } = checkOptions(
    schema,
    withDatabaseObject(input),
    name
  )
  const {
    url,
    tenantRolesUrl,
    globalUrl,
    registryUrl,
    systemUrl,
    ownerUrl,
    tenants,
    log,
    types,
    requireMigration,
    observe,
    statementTimeout: timeouts,
    ...rest
  } = database
  const isEmbeddedHere = typeof url === 'string' ? isEmbedded(url) : isEmbeddedPool(url)
  if (isEmbeddedHere && process.env.NODE_ENV === 'production' && !rest.allowEmbedded) {
    throw new OptionInvalidError(
      `${name}.database must be a postgres:// URL under NODE_ENV=production, got an embedded PGlite: ` +
        `set ${name}.database.allowEmbedded to true if that is intended`
    )
  }
  if (isolation === 'database' && tenants === undefined) {
    throw new OptionInvalidError(
      `${name}.database.tenants is required with isolation 'database': give the URL of tenants' ` +
        "databases, such as { url: 'postgres://{database}:password@host/{database}' }"
    )
  }
  if ('default' in rest.shards)
    throw new OptionInvalidError(
      `${name}.database.shards must not name 'default': that is ${name}.database.url`
    )
  return Object.freeze({
    database: {
      url,
      ...rest,
      statementTimeout: timeouts.default,
      planTimeouts: timeouts.plans,
      tenantRolesUrl,
      globalUrl,
      registryUrl,
      systemUrl,
      ownerUrl,
      tenants,
      log,
      types,
      requireMigration,
      observe
    },
    isolation,
    rls: { secrets: rls.secret ?? [], filter: rls.filter, context: rls.context },
    row,
    tables: resolveTables(tables, name),
    registry,
    audit,
    decorator
  })
}

// Wraps a bare URL or pool in an object.
function withDatabaseObject (input: unknown): unknown {
  if (typeof input !== 'object' || input === null || !('database' in input)) return input
  const { database } = input
  return v.is(pool, database) || typeof database === 'string'
    ? { ...input, database: { url: database } }
    : input
}

function resolveTables (input: v.InferOutput<typeof schema>['tables'], name: string): ResolvedTables {
  const { shared, global, schema, extensionSchemas } = input
  const extensions = extensionSchemas === undefined
    ? {}
    : { extensionSchemas: Object.freeze([...extensionSchemas]) }
  if (input.tenant === 'auto') {
    assertOnce([...shared, ...global], name)
    return { tenant: {}, shared, global, schema, auto: input.column, ...extensions }
  }
  const tenant = Array.isArray(input.tenant)
    ? Object.fromEntries(input.tenant.map(table => [table, input.column]))
    : input.tenant as Record<string, string>
  assertOnce(
    [...(Array.isArray(input.tenant) ? input.tenant : Object.keys(tenant)), ...shared, ...global],
    name
  )
  return { tenant, shared, global, schema, ...extensions }
}

function assertOnce (listed: readonly string[], name: string): void {
  const twice = listed.find((table, index) => listed.indexOf(table) !== index)
  if (twice !== undefined)
    throw new OptionInvalidError(`${name}.tables must name each table once, got '${twice}' twice`)
}
