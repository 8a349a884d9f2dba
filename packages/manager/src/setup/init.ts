import { OptionInvalidError } from '@fastify-tenancy/core'
import { bool, checkOptions, nonEmptyString } from '@fastify-tenancy/core/options'
import { quoteName, Script, type SqlClient } from '@fastify-tenancy/postgres/client'
import { assertNotNewer, formatScript, init, isRestored,
  type ScriptFormat } from '@fastify-tenancy/postgres/install'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import { loginsOf } from '../context/logins.ts'
import { openManagerPool, withClient } from '../context/shard-pools.ts'
import { repairDatabases, repairTenants } from './restored.ts'

/** Options of {@link Manager.init} and {@link Manager.protect}. */
export interface SetupInput {
  /** URL of a login with the required privileges, for this call only. @default the manager's own */
  readonly url?: string
  /** Like `url`, for each shard. @default the manager's own */
  readonly shards?: Readonly<Record<string, string>>
  /**
   * Changes nothing and returns the SQL that would run, plain or as a Kysely migration file. It
   * contains no secrets. @default false
   */
  readonly print?: ScriptFormat | false
}

/** Options of {@link Manager.init}. */
export interface InitInput extends SetupInput {
  /**
   * Whether tenants may get their own roles or schemas, for which the login of `ownerUrl` may then
   * create roles. @default true if the manager's options require it
   */
  readonly tenantRoles?: boolean
  /**
   * Whether to revoke from PUBLIC what tenants' statements do not need, as far as the login may.
   * @default false
   */
  readonly harden?: boolean
  /**
   * Whether the database afterwards accepts only the secrets of `rls.secret`. Refused while a
   * running process signs with another secret; `'now'` skips this check. @default false: earlier
   * secrets stay valid, and the report says so
   */
  readonly dropOldSecrets?: boolean | 'now'
  /**
   * Creates a new installation id, for a copy of a server's files, which cannot be detected. A
   * database that was copied or restored otherwise always gets a new one. @default false
   */
  readonly newInstallation?: boolean
}

/** The SQL that would run on one shard. */
export interface PrintedScript {
  readonly shard: string
  readonly text: string
}

export interface SetupReport {
  /** One script for each shard with `print`, otherwise empty. */
  readonly scripts: readonly PrintedScript[]
  /** Sentences about results and about work that was not done. */
  readonly remarks: readonly string[]
  /** The remarks about what was not done, and which login may do it. */
  readonly left: readonly string[]
}

/** Schema entries of {@link SetupInput}, for each method with such options. */
export const setupEntries: v.ObjectEntries = {
  url: v.optional(nonEmptyString),
  shards: v.optional(v.record(v.string(), nonEmptyString, 'must be a map of shards to URLs')),
  print: v.optional(
    v.union([v.picklist(['sql', 'kysely']), v.literal(false)], "must be 'sql', 'kysely' or false")
  )
}

const initSchema = v.strictObject({
  ...setupEntries,
  tenantRoles: v.optional(bool),
  harden: v.optional(bool),
  newInstallation: v.optional(bool),
  dropOldSecrets: v.optional(v.union([bool, v.literal('now')], "must be true, false or 'now'"))
}, 'must be an object')

export async function initShards (context: ManagerContext, given: InitInput): Promise<SetupReport> {
  const { tenantRoles, harden = false, newInstallation = false, dropOldSecrets = false, ...input } =
    checkOptions(initSchema, given, 'init') as InitInput
  const { isolation, rls, tables } = context.options
  return onShards(context, 'tenancy init', input, async (client, shard, onLeft) => {
    const { rows: [row] } = await client.query<{ name: string }>(
      'select pg_catalog.current_database()::text as name'
    )
    let restored = await isRestored(client, row?.name ?? '')
    const remarks = await init(client, {
      onLeft,
      onMoved: () => {
        restored = true
      },
      logins: loginsOf(context.shards.logins(shard)),
      tenantRoles: tenantRoles ?? (isolation === 'schema' || rls.context === 'role'),
      harden,
      newInstallation,
      schema: tables.schema,
      dropOldSecrets,
      ...(rls.secrets.length > 0 && { signingSecrets: rls.secrets })
    })
    if (client instanceof Script)
      return restored
        ? [...remarks, 'this database was restored, copied or renamed: ' +
          'run the script, then run `tenancy init` for the roles of its tenants']
        : remarks
    const databases = {
      shard,
      isRestored: restored,
      adminUrl: shard === 'default' ? input.url : input.shards?.[shard]
    }
    return [
      ...remarks,
      ...restored ? await repairTenants(context, client, shard) : [],
      ...await repairDatabases(context, client, databases)
    ]
  })
}

/** Runs the same work on every shard, or prints it. The work returns its remarks. */
export async function onShards (
  { options, shards }: ManagerContext,
  title: string,
  { url, shards: others, print = false }: SetupInput,
  work: (client: SqlClient, shard: string, onLeft: (sentence: string) => void) => Promise<readonly string[]>
): Promise<SetupReport> {
  const urls: Readonly<Record<string, string | undefined>> = { ...others, default: url }
  const scripts: PrintedScript[] = []
  const [remarks, left]: [string[], string[]] = [[], []]
  for (const shard of shards.names) {
    await connected(shards, shard, urls[shard], async live => {
      const named = (sentence: string): string =>
        shard === 'default' ? sentence : `shard ${shard}: ${sentence}`
      const run = async (client: SqlClient): Promise<void> => {
        const said = await work(client, shard, sentence => {
          left.push(named(sentence))
        })
        remarks.push(...said.map(named))
      }
      await assertNotNewer(live)
      if (print === false) return run(live)
      const script = new Script(live)
      // A script does not execute its own `set search_path`, but expressions in the options are
      // already evaluated here. So set the same path.
      await live.query(`set search_path = ${quoteName(options.tables.schema)}, pg_temp`)
      try {
        await run(script)
      } finally {
        await live.query('reset search_path')
      }
      const { rows: [row] } = await live.query<{ name: string }>(
        'select pg_catalog.current_database()::text as name'
      )
      scripts.push({
        shard,
        text: formatScript({ title, database: row?.name ?? '', parts: script.parts, format: print })
      })
    })
  }
  return { scripts, remarks, left }
}

async function connected (
  shards: ManagerContext['shards'],
  shard: string,
  url: string | undefined,
  work: (client: SqlClient) => Promise<void>
): Promise<void> {
  if (url === undefined) return withClient(shards.get(shard), work)
  const pool = openManagerPool(url, shard)
  try {
    await withClient(pool, async client => {
      await assertSameDatabase(client, shards, shard)
      await work(client)
    })
  } finally {
    await pool.end()
  }
}

const identity = `
  select pg_catalog.current_database()::text as name, pg_catalog.pg_postmaster_start_time()::text as started,
    (select oid::text from pg_catalog.pg_database where datname = pg_catalog.current_database()) as oid`

/**
 * Checks that a login for one call leads to the shard's own database. If the shard's login cannot
 * connect yet, as before the first `init`, only the names of the databases are compared.
 *
 * @throws FST_TENANCY_OPTION_INVALID if the login leads to another database
 */
async function assertSameDatabase (
  client: SqlClient,
  shards: ManagerContext['shards'],
  shard: string
): Promise<void> {
  const input = await identityOf(client)
  const own = await withClient(shards.get(shard), identityOf).catch(() => undefined)
  const expected = own?.name ?? shards.databaseName(shard)
  const isSame = own === undefined
    ? expected === undefined || expected === input?.name
    : own.oid === input?.oid && own.started === input?.started
  if (isSame) return
  throw new OptionInvalidError(
    `the login's URL leads to database '${input?.name}', but shard '${shard}' is database '${expected}'${
      expected === input?.name ? ' of another server' : ''
    }: use a URL with the shard's own host and database`
  )
}

async function identityOf (client: SqlClient): Promise<Record<string, string> | undefined> {
  const { rows: [row] } = await client.query<Record<string, string>>(identity)
  return row
}
