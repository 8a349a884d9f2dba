import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { quoteName, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { readUnlistedRoles } from '@fastify-tenancy/postgres/policies'
import { ownerViewProblem, ownerViews, viewNames,
  type ResolvedTables } from '@fastify-tenancy/postgres/tables'

import type { ResolvedAdoptionOptions } from '../context/adopt-options.ts'
import type { TableToPrepare } from './steps.ts'
import type { Visit } from './visit.ts'

interface DecideInput {
  readonly tables: ResolvedTables
  /** The tables to prepare. */
  readonly names: readonly string[]
  readonly adoption: ResolvedAdoptionOptions
}

/** Plans of the tables, and sentences about the source of their tenants. */
interface Decided {
  readonly plans: readonly TableToPrepare[]
  readonly sources: readonly string[]
}

/**
 * Plans all tables, parents first, without changing anything. Collects all decisions that only the
 * operator can make.
 *
 * @throws FST_TENANCY_SETUP_INVALID with every missing decision
 */
export async function decide (
  client: SqlClient,
  visit: Visit,
  { tables, names, adoption }: DecideInput
): Promise<Decided> {
  const problems = new Set<string>()
  const plans: TableToPrepare[] = []
  for (const table of names) {
    try {
      plans.push(...await visit.plan(table))
    } catch (error) {
      if (!(error instanceof SetupInvalidError)) throw error
      problems.add(error.message)
    }
  }
  if (problems.size === 0) plans.push(...await visit.planRedone())
  for (const view of await ownerViews(client, tables.schema, viewNames(tables.views)))
    problems.add(ownerViewProblem(view))
  for (const problem of await roleProblems(client, tables, names, adoption)) problems.add(problem)
  const sources: string[] = []
  // A count needs the plans of all parents.
  for (const plan of problems.size === 0 ? plans : []) {
    const { says, problem } = await describe(client, plan, plans)
    sources.push(says)
    if (problem !== undefined) problems.add(problem)
  }
  const [first, ...others] = problems
  if (first === undefined) return { plans, sources }
  throw new SetupInvalidError(
    others.length === 0
      ? first
      : `nothing was changed, because ${problems.size} decisions are missing: ${
        [...problems].map((problem, index) => `(${index + 1}) ${problem}`).join('; ')
      }`
  )
}

// Checked here, because `observe` would report them table by table after the tables were prepared.
async function roleProblems (
  client: SqlClient,
  { schema }: ResolvedTables,
  names: readonly string[],
  { legacy }: ResolvedAdoptionOptions
): Promise<string[]> {
  const { missing, unlisted, open } = await readUnlistedRoles(client, schema, names, Object.keys(legacy))
  return [
    ...missing.map(role => `there is no role '${role}': remove it from options.adoption.legacy`),
    ...unlisted.map(({ role, tables }) =>
      `role '${role}' would lose ${
        tables.join(', ')
      }: add it to options.adoption.legacy with its last day, or revoke its privileges`
    ),
    ...open.map(table =>
      `PUBLIC has privileges on table ${table}: grant them to the roles that use it, ` +
      `then revoke all on ${table} from public`
    )
  ]
}

/**
 * Returns the source of a table's tenants, and how many rows lack a tenant now and after the
 * backfill.
 */
async function describe (
  client: SqlClient,
  plan: TableToPrepare,
  plans: readonly TableToPrepare[]
): Promise<{ says: string; problem?: string }> {
  const { table, column, facts, found, source, redo } = plan
  if (source === undefined) return { says: `${table}: each row has its tenant in ${column} already` }
  const again = redo === undefined ? '' : '; the rule changed, so rows of the earlier rule are filled again'
  const says = `${table}: ${source.says}${again}`
  if (found.isRequired) return { says: `${says}; no row lacks one` }
  const counted = await client.query<{ without: string; left: string }>(`
    select count(*) filter (where ${
    found.type === undefined ? 'true' : `${quoteName(column)} is null`
  })::text as without,
      count(*) filter (where ${valueOf(plan, plans)} is null)::text as left
    from ${facts.name} ${quoteName(table)}`).catch((error: unknown) => {
    // The expression needs a column that the preparation of another table adds.
    if (sqlState(error) === '42703') return undefined
    throw error
  })
  const [row] = counted?.rows ?? []
  if (row === undefined) return { says: `${says}; its rows can be counted after its columns were added` }
  return {
    says: `${says}; ${row.without} rows lack one`,
    ...(row.left !== '0' &&
      {
        problem: `${row.left} rows of ${table} have no tenant, ` +
          `because options.adoption.backfill.${table} is null for them`
      })
  }
}

// Returns the tenant that a row will have, even if its own or its parent's column does not exist
// yet.
function valueOf (
  { table, column, type, found, source }: TableToPrepare,
  plans: readonly TableToPrepare[]
): string {
  const own = `${quoteName(table)}.${quoteName(column)}`
  if (source === undefined || found.isRequired) return own
  const parent = plans.find(plan => plan.table === source.parent)
  const { key } = source
  const pairs = key?.columns.map((name, index) =>
    `${quoteName(parent?.table ?? '')}.${quoteName(key.parentColumns[index] ?? '')} = ${quoteName(table)}.${
      quoteName(name)
    }`
  )
  const value = parent === undefined || key === undefined || pairs === undefined
    ? `${source.expression}::${type}`
    : `(select ${valueOf(parent, plans)} from ${key.parent} ${quoteName(parent.table)} where ${
      pairs.join(' and ')
    })`
  return found.type === undefined ? value : `coalesce(${own}, ${value})`
}
