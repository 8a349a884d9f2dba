import { bool, checkOptions, nonEmptyString } from '@fastify-tenancy/core'
import { assertNotNewer, formatScript, init, isRestored, quoteName, Script, type ScriptFormat, type SqlClient } from '@fastify-tenancy/database'
import * as v from 'valibot'

import type { ManagerContext } from './context.ts'
import { loginsOf } from './logins.ts'
import { repairTenants } from './restored.ts'
import { openManagerPool, withClient } from './shard-pools.ts'

/** How {@link Manager.init} and {@link Manager.protect} work. */
export interface SetupInput {
  /** A login that may do what is asked for, for this one call. @default the manager's own */
  readonly url?: string
  /** The like of `url` for each shard. @default the manager's own */
  readonly shards?: Readonly<Record<string, string>>
  /** Changes nothing, and answers the SQL that would run, plain or as a migration file of Kysely's. No secret is in it. @default false */
  readonly print?: ScriptFormat | false
}

/** What {@link Manager.init} may be told. */
export interface InitInput extends SetupInput {
  /** Whether tenants may get roles or schemas of their own: the login of `ownerUrl` may then create roles. @default where the manager's own options ask for them */
  readonly tenantRoles?: boolean
  /** Whether to take from PUBLIC what no tenant's statement needs, as far as the login may. @default false */
  readonly harden?: boolean
}

/** The SQL that would run on one shard. */
export interface PrintedScript {
  readonly shard: string
  readonly text: string
}

export interface SetupReport {
  /** One for each shard with `print`, and none without. */
  readonly scripts: readonly PrintedScript[]
  /** Sentences on what was left undone, and who may do it. */
  readonly remarks: readonly string[]
}

/** The checks of {@link SetupInput}, for each call that takes one. */
export const setupEntries: v.ObjectEntries = {
  url: v.optional(nonEmptyString),
  shards: v.optional(v.record(v.string(), nonEmptyString, 'must be a map of shards to URLs')),
  print: v.optional(v.union([v.picklist(['sql', 'kysely']), v.literal(false)], "must be 'sql', 'kysely' or false"))
}

const initSchema = v.strictObject({ ...setupEntries, tenantRoles: v.optional(bool), harden: v.optional(bool) }, 'must be an object')

export async function initShards (context: ManagerContext, given: InitInput): Promise<SetupReport> {
  const { tenantRoles, harden = false, ...input } = checkOptions(initSchema, given, 'init') as InitInput
  const { isolation, rls, tables } = context.options
  return onShards(context, 'tenancy init', input, async (client, shard) => {
    const { rows: [row] } = await client.query<{ name: string }>('select pg_catalog.current_database()::text as name')
    const restored = await isRestored(client, row?.name ?? '')
    const remarks = await init(client, {
      logins: loginsOf(context.shards.logins(shard)),
      tenantRoles: tenantRoles ?? (isolation === 'schema' || rls.context === 'role'),
      harden,
      schema: tables.schema,
      ...(rls.secrets.length > 0 && { signingSecrets: rls.secrets })
    })
    if (!restored) return remarks
    if (client instanceof Script) return [...remarks, 'this database was restored, copied or renamed: when the script has run, run `tenancy init` for the roles of its tenants']
    return [...remarks, ...await repairTenants(context, client, shard)]
  })
}

/** Does the same work on every shard, or prints it. The work answers its remarks. */
export async function onShards (
  { options, shards }: ManagerContext, title: string, { url, shards: others, print = false }: SetupInput, work: (client: SqlClient, shard: string) => Promise<readonly string[]>
): Promise<SetupReport> {
  const urls: Readonly<Record<string, string | undefined>> = { ...others, default: url }
  const scripts: PrintedScript[] = []
  const remarks: string[] = []
  for (const shard of shards.names) {
    await connected(shards, shard, urls[shard], async live => {
      const told = (left: readonly string[]): void => { remarks.push(...left.map(remark => shard === 'default' ? remark : `shard ${shard}: ${remark}`)) }
      await assertNotNewer(live)
      if (print === false) return told(await work(live, shard))
      const script = new Script(live)
      // What a script would set is not set here: expressions of the user's are read with the path that they will be run with.
      await live.query(`set search_path = ${quoteName(options.tables.schema)}, pg_temp`)
      try {
        told(await work(script, shard))
      } finally {
        await live.query('reset search_path')
      }
      const { rows: [row] } = await live.query<{ name: string }>('select pg_catalog.current_database()::text as name')
      scripts.push({ shard, text: formatScript({ title, database: row?.name ?? '', parts: script.parts, format: print }) })
    })
  }
  return { scripts, remarks }
}

async function connected (shards: ManagerContext['shards'], shard: string, url: string | undefined, work: (client: SqlClient) => Promise<void>): Promise<void> {
  if (url === undefined) return withClient(shards.get(shard), work)
  const pool = openManagerPool(url)
  try {
    await withClient(pool, work)
  } finally {
    await pool.end()
  }
}
