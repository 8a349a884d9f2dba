// The dashboard and the alert rules name metrics and labels that prometheus() makes, and no others.
import { prometheus } from '@fastify-tenancy/telemetry'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import t from 'tap'
import { parse } from 'yaml'

const folder = join(import.meta.dirname, '../../packages/telemetry')

interface Dashboard {
  readonly title: string
  readonly panels: readonly {
    readonly id: number
    readonly title: string
    readonly gridPos: object
    readonly targets: readonly { readonly expr: string }[]
  }[]
}

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { readonly alert: string; readonly expr: string; readonly annotations: object }[]
  }[]
}

const dashboard = JSON.parse(readFileSync(join(folder, 'grafana/dashboard.json'), 'utf8')) as Dashboard
const rules = parse(readFileSync(join(folder, 'prometheus/alerts.yml'), 'utf8')) as Rules
const alerts = rules.groups.flatMap(group => group.rules)

const named = (expr: string): string[] =>
  [...expr.matchAll(/\btenancy_\w+/g)].map(([name]) => name.replace(/_(?:bucket|count|sum)$/, ''))

t.test('TEL-07 each query of the dashboard and the alerts names metrics that exist', async t => {
  const health = {
    down: ['redis'],
    database: { connections: 1, waiting: 0, requiredMigration: '014_invoices' },
    redis: { breaker: 'open' as const },
    resolver: { tenants: 1, unknown: 0, registryReads: 1, registryFailures: 0, droppedRecords: 0 }
  }
  const { registry, stop } = prometheus({ tenancy: { health: () => health } }, { registry: new Registry() })
  t.teardown(stop)
  const known = new Set((await registry.getMetricsAsJSON()).map(({ name }) => name))
  t.ok(dashboard.panels.length >= 12 && alerts.length >= 5)
  const used = new Set<string>()
  for (
    const { title, expr } of [
      ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr }))),
      ...alerts.map(({ alert, expr }) => ({ title: alert, expr }))
    ]
  ) {
    t.ok(named(expr).length > 0, title)
    for (const name of named(expr)) {
      used.add(name)
      t.ok(known.has(name), `${title}: ${name}`)
    }
    t.equal(expr.split('(').length, expr.split(')').length, `${title}: parentheses`)
  }
  t.same(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length)
  const text = await registry.metrics()
  t.match(text, /tenancy_down\{part="redis"\} 1[^]*tenancy_redis_breaker\{state="open"\} 1/)
  t.match(text, /tenancy_required_migration\{version="014_invoices"\} 1/)
  t.notOk(known.has('tenancy_nothing'), 'control')
  stop()
  t.equal(await registry.metrics(), '\n', 'stop() leaves nothing')
})
