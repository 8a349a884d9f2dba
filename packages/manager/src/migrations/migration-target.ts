import type { TenantRecord } from '@fastify-tenancy/core'
import { inTransaction, isEmbeddedPool, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'
import { ensureLedger, grantGate } from '@fastify-tenancy/postgres/install'
import { schemaOf } from '@fastify-tenancy/postgres/placement'
import { addTenantColumns } from '@fastify-tenancy/postgres/policies'
import { pathWithExtensions } from '@fastify-tenancy/postgres/tables'

import type { ManagerContext } from '../context/context.ts'
import { tenantServer } from '../placement/tenant-server.ts'
import { asideFor, assertBorder, markBorder } from './border.ts'
import type { ConnectionSource } from './connection.ts'
import { becomeOwner, sharedSet, type AppliedMigration } from './ledger.ts'

/** Input for the statements that begin a transaction of migrations. */
interface OpeningInput {
  /** The ledger's entries that the caller has read. */
  readonly seen: readonly AppliedMigration[]
  /** In milliseconds. */
  readonly lockTimeout: number
  /**
   * Whether to take the tenant's lock and check its status, if the registry is in the same
   * database.
   */
  readonly isLocking: boolean
}

/** A set of tables that is migrated together. */
export interface MigrationTarget {
  readonly shard: string
  /** Its `tenant_id` in the ledger: the tenant's id, or that of the shared set. */
  readonly tenant: string
  readonly source: ConnectionSource
  /** The schema for unqualified names. */
  readonly schema: string
  /**
   * Whether `openingStatements` can take the tenant's lock, because the registry is in the same
   * database.
   */
  readonly hasRegistry: boolean
  openingStatements(input: OpeningInput): string[]
  /**
   * Returns statements that restore the session's path, role and settings as the first migration
   * found them.
   */
  again(input: Pick<OpeningInput, 'lockTimeout'>): string[]
  /**
   * SQL that the owner runs at the end of a transaction of migrations. It adds the tenant column to
   * a tenant's own tables.
   */
  readonly stamp: string | undefined
  /**
   * Statements that fail if a migration changed something outside the target; none for the shared
   * set.
   */
  readonly border: readonly string[]
  /** Whether the target belongs to a tenant, so that its migrations must stay in `schema`. */
  readonly isBordered: boolean
  /**
   * SQL for the search path of non-transactional migrations, without schemas that contain other
   * tables.
   */
  readonly nonTransactionalPath: string
  /** Creates the ledger in databases that `init` does not visit. */
  prepare?(client: SqlClient): Promise<void>
}

/** Returns the target of a shard's shared set. */
export function sharedTarget (context: ManagerContext, shard: string): MigrationTarget {
  return target({
    shard,
    tenant: sharedSet,
    source: shardSource(context, shard),
    schema: context.options.tables.schema,
    stamp: undefined,
    extensions: context.options.tables.extensionSchemas,
    hasRegistry: false
  })
}

/**
 * Returns the target of a tenant's own tables, for strategy `schema` or `database`.
 *
 * @throws FST_TENANCY_SETUP_INVALID if the options do not say where its database is
 */
export async function tenantTarget (context: ManagerContext, tenant: TenantRecord): Promise<MigrationTarget> {
  const { id, placement: { shard } } = tenant
  const { tables } = context.options
  const extensions = tables.extensionSchemas
  if (tenant.isolation === 'schema') {
    const source = shardSource(context, shard)
    // An embedded database has its locks in this process.
    return target({
      shard,
      tenant: id,
      source,
      schema: schemaOf(tenant),
      stamp: addTenantColumns(schemaOf(tenant), id, tables),
      extensions,
      isOwned: true,
      isBordered: true,
      hasRegistry: shard === 'default' && !isEmbedded(source)
    })
  }
  const server = await tenantServer(tenant, context)
  const login = 'pool' in server ? undefined : server.login.user
  return {
    ...target({
      shard,
      tenant: id,
      source: 'pool' in server ? server : server.ownerUrl,
      schema: tables.schema,
      stamp: addTenantColumns(tables.schema, id, tables),
      extensions,
      isBordered: true,
      hasRegistry: false
    }),
    prepare: client => prepareDatabase(client, login)
  }
}

/** Returns the owner's connection source of a shard. */
export function shardSource ({ shards }: Pick<ManagerContext, 'shards'>, shard: string): ConnectionSource {
  const { url, ownerUrl } = shards.logins(shard)
  const input = ownerUrl ?? url
  return typeof input === 'string' && !input.startsWith('pglite:')
    ? input
    : { pool: shards.get(shard), isOwn: false }
}

function isEmbedded (source: ConnectionSource): boolean {
  return typeof source !== 'string' && isEmbeddedPool(source.pool)
}

/**
 * Statements that remove what a migration leaves in its session. Not `discard all`, which PostgreSQL
 * refuses beside others in one message.
 */
export const forgetSession: readonly string[] = ['close all', 'deallocate all', 'discard temp', 'reset all']

interface PlaceInput
  extends Pick<MigrationTarget, 'shard' | 'tenant' | 'source' | 'schema' | 'hasRegistry' | 'stamp'> {
  readonly extensions: readonly string[] | undefined
  /** Whether the schema must belong to the tenant. */
  readonly isOwned?: boolean
  readonly isBordered?: boolean
}

function target ({ isOwned = false, isBordered = false, extensions, ...rest }: PlaceInput): MigrationTarget {
  const { source, tenant, schema, hasRegistry } = rest
  const path = `select pg_catalog.set_config('search_path', ${pathWithExtensions(schema, extensions)}, true)`
  const begin = (lockTimeout: number): string[] => [path, `set local lock_timeout = ${lockTimeout}`]
  // After the claim, whose error reports a missing schema.
  const mark = isBordered ? [...asideFor(markBorder(schema)), path] : []
  return {
    ...rest,
    isBordered,
    border: isBordered ? [...asideFor(assertBorder(schema)), path] : [],
    nonTransactionalPath: pathWithExtensions(schema, extensions, isBordered),
    again: ({ lockTimeout }) => [
      ...(typeof source === 'string' ? ['reset all'] : []),
      ...begin(lockTimeout),
      ...mark,
      becomeOwner,
      `select pg_catalog.set_config('tenancy.migrating', ${quoteText(`tenant ${tenant}`)}, true)`
    ],
    openingStatements: ({ seen, lockTimeout, isLocking }) => [
      // Removes what an earlier tenant's migration left in the session. The settings of a pool that
      // the caller passed stay.
      ...(typeof source === 'string' ? forgetSession : []),
      'reset role',
      'begin',
      ...begin(lockTimeout),
      `select tenancy.claim_migrations(${
        [
          quoteText(tenant),
          quoteText(schema),
          isOwned,
          seen.length,
          seen.length === 0 ? 'null' : quoteText(seen.at(-1)?.name ?? ''),
          isLocking && hasRegistry
        ].join(', ')
      })`,
      ...mark
    ]
  }
}

async function prepareDatabase (client: SqlClient, login: string | undefined): Promise<void> {
  const { rows: [row] } = await client.query<{ ready: boolean }>(
    `
    select case when gate.oid is null then false
      else $1::text is null or pg_catalog.has_function_privilege($1, gate.oid, 'execute') end as ready
    from (
      select pg_catalog.to_regprocedure('tenancy.has_migration(text, text)')::oid as oid
    ) gate`,
    [login ?? null]
  )
  if (row?.ready === true) return
  await inTransaction(client, async () => {
    await ensureLedger(client)
    if (login !== undefined) await grantGate(client, login)
  })
}
