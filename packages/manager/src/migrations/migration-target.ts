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

/** What a transaction of migrations begins with. */
export interface OpeningInput {
  /** What the ledger held when the caller looked. */
  readonly seen: readonly AppliedMigration[]
  /** In milliseconds. */
  readonly lockTimeout: number
  /** Whether the tenant's lock is to be taken and its status looked at, where the registry is in the same database. */
  readonly isLocking: boolean
}

/** Where a set of tables is that is migrated as one. */
export interface MigrationTarget {
  readonly shard: string
  /** Its name in the ledger: the tenant's id, or that of the shared set. */
  readonly tenant: string
  readonly source: ConnectionSource
  /** Where names without one of their own are looked up. */
  readonly schema: string
  /** Whether `head` can take the tenant's lock by itself. */
  readonly hasRegistry: boolean
  openingStatements(input: OpeningInput): string[]
  /** What brings the session back to where the first migration began: path, role and settings. */
  again(input: Pick<OpeningInput, 'lockTimeout'>): string[]
  /** What a transaction of migrations ends with, as the owner: the tenant column of a tenant's own tables. */
  readonly stamp: string | undefined
  /** What fails where a migration did something outside the place; nothing for the shared tables. */
  readonly border: readonly string[]
  /** Whether the place is a tenant's, so that its migrations stay in `schema`. */
  readonly isBordered: boolean
  /** The path of what runs outside a transaction, as SQL: without schemas that hold other tables. */
  readonly nonTransactionalPath: string
  /** Makes the ledger where `init` does not. */
  prepare?(client: SqlClient): Promise<void>
}

/** The shared tables of a shard. */
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
 * The tables that a tenant of strategy `schema` or `database` has for itself.
 *
 * @throws FST_TENANCY_SETUP_INVALID where the options do not say where its database is
 */
export async function tenantTarget (context: ManagerContext, tenant: TenantRecord): Promise<MigrationTarget> {
  const { id, placement: { shard } } = tenant
  const { tables } = context.options
  const extensions = tables.extensionSchemas
  if (tenant.isolation === 'schema') {
    const source = shardSource(context, shard)
    // An embedded database's locks are in this process.
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

/** The owner's connection to a shard. */
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

interface PlaceInput
  extends Pick<MigrationTarget, 'shard' | 'tenant' | 'source' | 'schema' | 'hasRegistry' | 'stamp'> {
  readonly extensions: readonly string[] | undefined
  /** Whether the schema must be the tenant's. */
  readonly isOwned?: boolean
  readonly isBordered?: boolean
}

function target ({ isOwned = false, isBordered = false, extensions, ...rest }: PlaceInput): MigrationTarget {
  const { source, tenant, schema, hasRegistry } = rest
  const path = `select pg_catalog.set_config('search_path', ${pathWithExtensions(schema, extensions)}, true)`
  const begin = (lockTimeout: number): string[] => [path, `set local lock_timeout = ${lockTimeout}`]
  // After the claim, which says it where the schema is gone.
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
      // What an earlier tenant's migration left in the session. A pool that was passed in is left as its owner set it up.
      ...(typeof source === 'string' ? ['discard temp', 'reset all'] : []),
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
    select case when pg_catalog.to_regprocedure('tenancy.has_migration(text, text)') is null then false
      else $1::text is null or pg_catalog.has_function_privilege($1, pg_catalog.to_regprocedure('tenancy.has_migration(text, text)')::oid, 'execute') end as ready`,
    [login ?? null]
  )
  if (row?.ready === true) return
  await inTransaction(client, async () => {
    await ensureLedger(client)
    if (login !== undefined) await grantGate(client, login)
  })
}
