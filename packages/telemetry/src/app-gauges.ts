import client, { type Registry } from 'prom-client'

/**
 * The values read from an application when its metrics are requested. An application without a part
 * has no metric of it.
 */
export interface ObservedApp {
  addHook?(name: 'onClose', hook: () => Promise<void>): unknown
  readonly tenancy?: {
    health(): {
      readonly down: readonly string[]
      readonly database: {
        readonly connections: number
        readonly waiting: number
        readonly requiredMigration: string | undefined
      }
      readonly redis: { readonly breaker: 'closed' | 'half-open' | 'open' } | undefined
      readonly resolver: {
        readonly tenants: number
        readonly unknown: number
        readonly registryReads: number
        readonly registryFailures: number
        readonly droppedRecords: number
      }
    }
  }
}

const breakerStates = ['closed', 'half-open', 'open'] as const

/** Creates the gauges of an application, each read when the metrics are requested. */
export function readApp (app: ObservedApp, registers: Registry[]): readonly client.Metric[] {
  const { tenancy } = app
  if (tenancy === undefined) return []
  type Health = ReturnType<typeof tenancy.health>
  const gauge = (name: string, help: string, read: (health: Health) => number | undefined): client.Metric =>
    new client.Gauge({
      name: `tenancy_${name}`,
      help,
      registers,
      collect () {
        this.set(read(tenancy.health()) ?? Number.NaN)
      }
    })
  return [
    gauge('connections', 'Connections of this process.', ({ database }) => database.connections),
    gauge('connection_queue', 'Callers that wait for a connection.', ({ database }) => database.waiting),
    gauge(
      'registry_reads',
      'Reads of the registry since the start.',
      ({ resolver }) => resolver.registryReads
    ),
    gauge(
      'registry_failures',
      'Reads of the registry that failed.',
      ({ resolver }) => resolver.registryFailures
    ),
    gauge(
      'registry_dropped_records',
      'Records in Redis that were not genuine.',
      ({ resolver }) => resolver.droppedRecords
    ),
    gauge('remembered_tenants', 'Tenants that this process remembers.', ({ resolver }) => resolver.tenants),
    new client.Gauge({
      name: 'tenancy_down',
      help: 'Parts that do not answer, 1 each.',
      labelNames: ['part'],
      registers,
      collect () {
        this.reset()
        for (const part of tenancy.health().down) this.set({ part }, 1)
      }
    }),
    new client.Gauge({
      name: 'tenancy_required_migration',
      help: "The migration that this process requires of tenants' own tables, as a label of 1.",
      labelNames: ['version'],
      registers,
      collect () {
        const version = tenancy.health().database.requiredMigration
        if (version !== undefined) this.set({ version }, 1)
      }
    }),
    new client.Gauge({
      name: 'tenancy_redis_breaker',
      help: 'The state of the circuit breaker before Redis: 1 for the state that it is in.',
      labelNames: ['state'],
      registers,
      collect () {
        const { redis } = tenancy.health()
        if (redis === undefined) return
        for (const state of breakerStates) this.set({ state }, state === redis.breaker ? 1 : 0)
      }
    })
  ]
}
