import { slugProblem, TenantConflictError } from '@fastify-tenancy/core'
import { slugPatternProblem } from '@fastify-tenancy/core/names'
import { checkOptions, nonEmptyString } from '@fastify-tenancy/core/options'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { inTransaction } from '@fastify-tenancy/postgres/client'
import { setTimeout as sleep } from 'node:timers/promises'
import * as v from 'valibot'

import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { createTenant } from '../lifecycle/create.ts'

/** Options of {@link Manager.createFrom}. */
export interface CreateFromInput {
  /**
   * A query that returns one row per customer: `id`, `slug`, and optionally `name` and `plan`. It
   * runs read-only, with the manager's login.
   */
  readonly query: string
}

/** The result of {@link Manager.createFrom}. */
export interface CreatedFrom {
  /** The slugs of the created tenants. */
  readonly created: readonly string[]
  /** Number of customers that were tenants before. */
  readonly existing: number
}

interface Customer {
  readonly id: string
  readonly slug: string
  readonly name?: string
  readonly plan?: string
}

/** How long to wait for another call that creates the same tenant, and the interval of checks. */
const [waitMs, pauseMs] = [10_000, 200]

const schema = v.strictObject({ query: nonEmptyString }, 'must be an object')

export async function createFrom (context: ManagerContext, input: CreateFromInput): Promise<CreatedFrom> {
  const { query } = checkOptions(schema, input, 'createFrom')
  const { ready, slugs } = await readTenants(context)
  const customers = await readCustomers(context, query)
  const missing = customers.filter(({ id }) => !ready.has(id))
  assertCustomers(missing, context.options, slugs)
  const created: string[] = []
  for (const [index, customer] of missing.entries()) {
    if (await createOne(context, customer)) created.push(customer.slug)
    context.options.progress?.({
      operation: 'create',
      step: 'customers',
      done: index + 1,
      total: missing.length
    })
  }
  return { created, existing: customers.length - created.length }
}

// Returns false if another call creates the same tenant, whose lock makes this one fail meanwhile.
async function createOne (context: ManagerContext, customer: Customer): Promise<boolean> {
  const deadline = Date.now() + waitMs
  for (;;) {
    try {
      await createTenant(context, customer)
      return true
    } catch (error) {
      if (!(error instanceof TenantConflictError)) throw error
      const found = await context.registry.findById(customer.id)
      if (found !== undefined && found.status !== 'provisioning') return false
      if (Date.now() > deadline) throw error
      await sleep(pauseMs)
    }
  }
}

async function readCustomers (context: ManagerContext, query: string): Promise<readonly Customer[]> {
  const rows = await withClient(context.shards.get('default'), client =>
    inTransaction(client, async () => {
      await client.query('set transaction read only')
      return (await client.query<Record<string, unknown>>(
        `
        select customer.id::text as id, customer.slug::text as slug,
          to_jsonb(customer) ->> 'name' as name, to_jsonb(customer) ->> 'plan' as plan
        from (${query.replace(/;\s*$/, '')}) customer`
      )).rows
    }))
  return rows.map(({ id, slug, name, plan }) => ({
    id: String(id ?? ''),
    slug: String(slug ?? ''),
    ...(typeof name === 'string' && { name }),
    ...(typeof plan === 'string' && { plan })
  }))
}

function assertCustomers (
  customers: readonly Customer[],
  { reserved, domains }: ManagerContext['options'],
  taken: ReadonlyMap<string, string>
): void {
  const [ids, slugs] = [new Set<string>(), new Map(taken)]
  const problems = customers.flatMap(({ id, slug }) => {
    const holder = slugs.get(slug)
    const isTwice = ids.has(id)
    ids.add(id)
    slugs.set(slug, id)
    const problem = id === ''
      ? 'it has no id'
      : isTwice
      ? 'another row has its id'
      : slugProblem(slug, reserved) ?? slugPatternProblem(slug, domains.patterns) ??
        (holder === undefined || holder === id ? undefined : `${holder} has this slug`)
    return problem === undefined ? [] : [`customer '${id}' with slug '${slug}': ${problem}`]
  })
  if (problems.length === 0) return
  throw new SetupInvalidError(
    `no tenant was created, because ${problems.length} rows of the query cannot become tenants: ${
      problems.slice(0, 20).join('; ')
    }${problems.length > 20 ? `; and ${problems.length - 20} more` : ''}`
  )
}

/**
 * Returns the ids of existing tenants and the slugs of all. Unfinished creations are not existing,
 * because the same call resumes them.
 */
async function readTenants (
  { registry }: ManagerContext
): Promise<{ ready: ReadonlySet<string>; slugs: ReadonlyMap<string, string> }> {
  const ready = new Set<string>()
  const slugs = new Map<string, string>()
  for await (const { id, slug, status } of registry.list()) {
    slugs.set(slug, id)
    if (status !== 'provisioning') ready.add(id)
  }
  return { ready, slugs }
}
