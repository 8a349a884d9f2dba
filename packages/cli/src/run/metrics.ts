import { OptionInvalidError, type TenantUsage, type UsageCounter as Counter } from '@fastify-tenancy/core'
import { usageCounters } from '@fastify-tenancy/core/usage'
import { setTimeout as sleep } from 'node:timers/promises'

/** The counters by tenant of @fastify-tenancy/telemetry's `prometheus()`, with their factors. */
const metrics: Readonly<Record<string, readonly [Counter, number]>> = {
  tenancy_requests_total: ['requests', 1],
  tenancy_tenant_refusals_total: ['refusals', 1],
  tenancy_statements_total: ['statements', 1],
  tenancy_database_seconds_total: ['databaseTime', 1_000],
  tenancy_database_wait_seconds_total: ['databaseWait', 1_000]
}

const answerWithin = 10_000

/** What one process counted between two reads of its metrics. */
interface MetricsUsage {
  readonly seconds: number
  readonly processes: readonly string[]
  readonly tenants: readonly TenantUsage[]
  readonly other: TenantUsage
  readonly none: TenantUsage
}

type Counts = { -readonly [Field in keyof TenantUsage]: TenantUsage[Field] }

/**
 * Reads the metrics of one process twice.
 *
 * @throws FST_TENANCY_OPTION_INVALID where the URL does not answer, or has no metrics of the suite
 */
export async function readMetrics (url: string, seconds: number, top: number): Promise<MetricsUsage> {
  const before = await read(url)
  await sleep(seconds * 1_000)
  const after = await read(url)
  const used = [...after].map(([tenant, counts]) => minus(counts, before.get(tenant)))
  const one = (id: string): TenantUsage => used.find(each => each.id === id) ?? empty(id)
  const tenants = used.filter(({ id }) => id !== 'other' && id !== 'none').toSorted((a, b) =>
    b.databaseTime - a.databaseTime || b.refusals - a.refusals || b.requests - a.requests
  )
  return {
    seconds,
    processes: [new URL(url).host],
    tenants: tenants.slice(0, top),
    other: one('other'),
    none: one('none')
  }
}

async function read (url: string): Promise<Map<string, Counts>> {
  const response = await fetch(url, { signal: AbortSignal.timeout(answerWithin) }).catch((cause: unknown) => {
    throw new OptionInvalidError(`--metrics ${url} does not answer: name the metrics of a running process`, {
      cause
    })
  })
  const text = await response.text()
  if (!response.ok || !text.includes('tenancy_requests_total'))
    throw new OptionInvalidError(
      `--metrics ${url} has no metrics of the suite (status ${response.status}): ` +
        'register prometheus() of @fastify-tenancy/telemetry'
    )
  const tenants = new Map<string, Counts>()
  for (const line of text.split('\n')) {
    const [, name = '', labels = '', value = ''] = /^(\w+)\{([^}]*)\} (\S+)/.exec(line) ?? []
    const [counter, factor] = metrics[name] ?? []
    const tenant = /(?:^|,)tenant="([^"]*)"/.exec(labels)?.[1]
    if (counter === undefined || factor === undefined || tenant === undefined) continue
    const counts = tenants.get(tenant) ?? empty(tenant)
    counts[counter] += Number(value) * factor
    tenants.set(tenant, counts)
  }
  return tenants
}

// Metrics name tenants by id alone.
function empty (id: string): Counts {
  const zeros = Object.fromEntries(usageCounters.map(counter => [counter, 0])) as Record<Counter, number>
  return { ...zeros, id, slug: id }
}

// A tenant begins at 0 if it got its label in between, or if its process was restarted.
function minus (after: Counts, before: Counts | undefined): Counts {
  const difference = empty(after.id)
  for (const counter of usageCounters) {
    const from = before?.[counter] ?? 0
    difference[counter] = after[counter] < from ? after[counter] : after[counter] - from
  }
  return difference
}
