import { channels } from '@fastify-tenancy/core'
import { checkOptions, positiveInteger } from '@fastify-tenancy/core/options'
import client, { type Registry } from 'prom-client'
import * as v from 'valibot'

import { readApp, type ObservedApp } from './app-gauges.ts'
import { Durations } from './durations.ts'
import { classes, Gathered } from './gathered.ts'
import { KnownCodes } from './known-codes.ts'
import { none, TopTenants } from './top-tenants.ts'

export type { ObservedApp } from './app-gauges.ts'

/** Options of {@link prometheus}. */
export interface PrometheusOptions {
  /** The registry of the metrics. @default the global registry of prom-client */
  readonly registry?: Registry
  /** How many of the busiest tenants have separate time series; the rest is `other`. @default 50 */
  readonly top?: number
}

/** The result of {@link prometheus}. */
export interface Prometheus {
  readonly registry: Registry
  /** Ends the counting and removes the metrics. Closing the application does so too. */
  readonly stop: () => void
}

const schema = v.strictObject({
  registry: v.optional(v.custom<Registry>(
    value => typeof value === 'object' && value !== null && 'registerMetric' in value,
    'must be a Registry of prom-client'
  )),
  top: v.optional(positiveInteger, 50)
}, 'must be an object')

/**
 * Operations with a separate time series. Others share one, because a refused text may begin with
 * any word.
 */
const operations: ReadonlySet<string> = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE', 'WITH',
  'VALUES', 'TABLE', 'COMMIT', 'ROLLBACK', 'SAVEPOINT', 'RELEASE'])

/**
 * Counts the events of the suite's channels as metrics of prom-client. The channels belong to the
 * process: with several applications in it, call this for one of them.
 *
 * Call it before the application listens. Serve `await registry.metrics()` on an `'off'` route, and
 * not to tenants.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function prometheus (app: ObservedApp, input: PrometheusOptions = {}): Prometheus {
  const { registry = client.register, top } = checkOptions(schema, input, 'the options of prometheus()')
  const registers = [registry]
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new client.Counter<Label>({ name: `tenancy_${name}_total`, help, labelNames, registers })

  const answered = new Gathered()
  const requests = new client.Counter({
    name: 'tenancy_requests_total',
    help: 'Answered requests, by status class.',
    labelNames: ['tenant', 'class'],
    registers,
    collect () {
      answered.flush((tenant, name, count) => this.inc({ tenant, class: name }, count))
    }
  })
  const duration = new Durations(
    registry,
    'tenancy_request_duration_seconds',
    'Time to the reply, by mode.',
    'mode'
  )
  const refusals = counter('refusals', 'Requests that were refused before their handler, by code.', ['code'])
  const limited = counter('limited', 'Requests over a limit.', ['limit', 'mode'])
  const refused = counter('tenant_refusals', 'Requests that were refused or over a limit.', ['tenant'])
  const statements = counter('statements', 'Statements.', ['tenant'])
  const failures = counter('statement_failures', 'Statements that failed, by SQLSTATE or code.', ['code'])
  const time = counter('database_seconds', 'Time of statements.', ['tenant'])
  const wait = counter('database_wait_seconds', 'Time that callers waited for a connection.', ['tenant'])
  const statement = new Durations(
    registry,
    'tenancy_statement_duration_seconds',
    'Time of a statement.',
    'operation'
  )
  const cache = counter('cache_reads', 'Reads of the cache.', ['result'])
  const refusedQueries = counter('refused_queries', 'Statements that were not sent.', [])
  const breaches = counter('isolation_breaches', 'Rows of other tenants that the tripwire stopped.', [])
  const rollbacks = counter('rollbacks', 'Transactions of requests and runs that were rolled back.', [])
  const bypasses = counter('bypasses', 'Work across tenants, by whether it may write.', ['write'])
  const pools = counter('pools', "Pools of tenants' own databases, made and evicted.", ['event'])
  const steps = counter('steps', 'Steps of operations and migrations in this process.', ['operation'])
  const perTenant = [refused, statements, time, wait]
  const others = [duration, refusals, limited, failures, statement, cache, refusedQueries, breaches,
    rollbacks, bypasses, pools, steps]
  const gauges = readApp(app, registers)

  const codes = new KnownCodes()
  const tenants = new TopTenants(top, tenant => {
    answered.delete(tenant)
    for (const metric of perTenant) metric.remove({ tenant })
    for (const name of classes) requests.remove({ tenant, class: name })
  })

  const stops = [
    on(channels.request, event => {
      const label = tenants.label(event.tenant, 1)
      answered.add(label, event.statusCode)
      if (event.duration !== undefined) duration.observe(event.mode, event.duration)
    }),
    on(channels.refused, ({ code, tenant }) => {
      refusals.inc({ code })
      refused.inc({ tenant: tenants.label(tenant, 0) })
    }),
    on(channels.limited, event => {
      limited.inc({ limit: event.limit, mode: event.mode })
      if (event.mode !== 'enforce') return
      refusals.inc({ code: 'FST_TENANCY_RATE_LIMITED' })
      refused.inc({ tenant: tenants.label(event.tenant, 0) })
    }),
    on(channels.query.asyncEnd, event => {
      const tenant = tenants.label(event.tenant, event.duration)
      statements.inc({ tenant })
      time.inc({ tenant }, event.duration / 1_000)
      wait.inc({ tenant }, event.wait / 1_000)
      statement.observe(operations.has(event.operation) ? event.operation : 'OTHER', event.duration)
      if (event.error !== undefined) failures.inc({ code: codes.of(event.error) })
    }),
    on(channels.cache, ({ isHit }) => cache.inc({ result: isHit ? 'hit' : 'miss' })),
    on(channels.queryRefused, () => refusedQueries.inc()),
    on(channels.isolationBreach, () => breaches.inc()),
    on(channels.rolledBack, () => rollbacks.inc()),
    on(channels.bypass, ({ write }) => bypasses.inc({ write: String(write) })),
    on(channels.poolMade, () => pools.inc({ event: 'made' })),
    on(channels.poolEvicted, () => pools.inc({ event: 'evicted' })),
    on(channels.lifecycleStep, ({ operation }) => steps.inc({ operation })),
    on(channels.migrationStep, () => steps.inc({ operation: 'migrate' }))
  ]
  // Initialise the series with 0, because alerts compare them with 0 and a missing series has no
  // value.
  for (const result of ['hit', 'miss']) cache.inc({ result }, 0)
  requests.inc({ tenant: none, class: '2xx' }, 0)

  const stop = (): void => {
    for (const end of stops.splice(0)) end()
    const names = [requests, ...perTenant, ...others, ...gauges].map(metric =>
      (metric as unknown as { readonly name: string }).name
    )
    for (const name of names) registry.removeSingleMetric(name)
  }
  app.addHook?.('onClose', async () => stop())
  return { registry, stop }
}

interface Listenable<Event> {
  subscribe(listener: (event: Event) => void): void
  unsubscribe(listener: (event: Event) => void): boolean
}

function on<Event> (channel: Listenable<Event>, listener: (event: Event) => void): () => void {
  channel.subscribe(listener)
  return () => {
    channel.unsubscribe(listener)
  }
}
