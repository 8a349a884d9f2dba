import { bool, checkOptions, nonEmptyString } from '@fastify-tenancy/core/options'
import { levelFacts } from '@fastify-tenancy/database/options'
import { isConnectError } from '@fastify-tenancy/postgres/client'
import { reportLevel, toFinding, type LevelFacts, type LevelReport } from '@fastify-tenancy/postgres/doctor'
import { listTables } from '@fastify-tenancy/postgres/tables'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { readMigrations } from '../migrations/read-migrations.ts'
import { byCode, readBaseline, writeBaseline } from './baseline.ts'
import { checkCatalog } from './catalog.ts'
import { checkOwnDatabases, ownDatabaseChecks } from './own-databases.ts'
import { probe } from './probe.ts'
import { reachChecks, unreachable } from './reach.ts'
import { isolationsInCatalog, readSchemaTenants, readPlaced, readRegistered,
  type RegisteredTenants } from './registered.ts'
import { sorted, withoutRepeats, type DoctorReport, type ShardFinding } from './report.ts'

/** Options of {@link Manager.doctor}. */
export interface DoctorInput {
  /**
   * Whether to also try attacks with the application's own login, each in a transaction that is
   * rolled back. @default false
   */
  readonly probe?: boolean
  /** Path of a file of accepted findings, which are not reported. @default none */
  readonly baseline?: string
  /**
   * Path of a file to which all current errors and warnings are written, for `baseline`. @default
   * none
   */
  readonly writeBaseline?: string
}

const schema = v.strictObject({
  probe: v.optional(bool, false),
  baseline: v.optional(nonEmptyString),
  writeBaseline: v.optional(nonEmptyString)
}, 'must be an object')

/**
 * Examines every shard, read-only. An unreachable shard is a finding, and the other shards are
 * examined.
 */
export async function doctor (context: ManagerContext, given: DoctorInput): Promise<DoctorReport> {
  const input = checkOptions(schema, given, 'doctor')
  const accepted = input.baseline === undefined ? [] : await readBaseline(input.baseline)
  const { migrations } = context.options
  const known = migrations.tenant === undefined
    ? []
    : (await readMigrations(migrations.tenant)).map(({ name }) => name)
  const registered = await withClient(context.shards.get('default'), readRegistered)
  const findings: ShardFinding[] = []
  const levels: LevelReport[] = []
  for (const shard of context.shards.names) {
    try {
      const report = await examine(context, { shard, registered, migrations: known, isProbing: input.probe })
      findings.push(...report.findings)
      if (shard === 'default' && registered !== undefined)
        findings.push(
          ...(await checkOwnDatabases(context)).map(row => ({ ...toFinding(row, ownDatabaseChecks), shard }))
        )
      levels.push(report.level)
    } catch (error) {
      if (!isConnectError(error)) throw error
      findings.push({ ...toFinding(unreachable(shard, error), reachChecks), shard })
      levels.push({ level: 0, reasons: [`shard '${shard}' cannot be reached, so its level is unknown`] })
    }
  }
  if (input.writeBaseline !== undefined) await writeBaseline(input.writeBaseline, sorted(findings))
  const level = levels.toSorted((a, b) => a.level - b.level)[0]
  return {
    level: level?.level ?? 0,
    reasons: level?.reasons ?? [],
    ...byCode(withoutRepeats(sorted(findings)), accepted)
  }
}

// Uses the strategies that tenants actually have, because the options only have the default.
function isolated (
  { hasTenantLogins = false }: LevelFacts,
  isolations: ReadonlySet<string> = new Set()
): Partial<LevelFacts> {
  return {
    hasTenantLogins: hasTenantLogins && [...isolations].every(isolation => isolation === 'database'),
    ...(isolations.has('schema') && { hasTenantRoles: true })
  }
}

interface ShardInput {
  readonly shard: string
  readonly registered: RegisteredTenants | undefined
  readonly migrations: readonly string[]
  readonly isProbing: boolean
}

async function examine (
  context: ManagerContext,
  { shard, registered, migrations, isProbing }: ShardInput
): Promise<{ findings: ShardFinding[]; level: LevelReport }> {
  const { options: { application, rls, tables: listed }, shards } = context
  return withClient(shards.get(shard), async client => {
    const { rows: [session] } = await client.query<{ user: string; database: string }>(
      'select session_user::text as user, pg_catalog.current_database()::text as database'
    )
    if (session === undefined) throw new TypeError('the session has no user')
    const login = shards.user(shard) ?? session.user
    const tables = await listTables(client, listed)
    const urls = { ...shards.logins(shard), registryUrl: application.database.registryUrl }
    const facts = levelFacts(application, urls, login, shard === 'default' ? tables.global : [])
    const placed = {
      shard,
      isolations: isolationsInCatalog(rls.context),
      placements: registered === undefined ? [] : await readSchemaTenants(client)
    }
    const tenants = registered === undefined
      ? []
      : shard === 'default'
      // Reuses the client, because the pool may have a single connection.
      ? await readPlaced(client, placed)
      : await withClient(shards.get('default'), registry => readPlaced(registry, placed))
    const findings = await checkCatalog(client, context, {
      shard,
      database: session.database,
      login,
      logins: facts.logins,
      tables,
      registered,
      tenants,
      migrations
    })
    const level = await reportLevel(client, { ...facts, ...isolated(facts, registered?.isolations) }, login)
    if (isProbing)
      findings.push(
        ...await probe(context, {
          client,
          shard,
          tables,
          tenants,
          hasRls: registered?.isolations.has('rls') === true
        })
      )
    return { findings: findings.map(finding => ({ ...finding, shard })), level }
  })
}
