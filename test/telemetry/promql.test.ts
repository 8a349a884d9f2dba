// Prometheus evaluates the dashboard's queries and the alert rules on series of twenty tenants.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'

import { noPromtool, testRules } from '../support/promtool.ts'

const folder = join(import.meta.dirname, '../../packages/telemetry')
const alertsFile = join(folder, 'prometheus/alerts.yml')

interface Panel {
  readonly title: string
  readonly targets: readonly { readonly expr: string }[]
}

const { panels } = JSON.parse(readFileSync(join(folder, 'grafana/dashboard.json'), 'utf8')) as {
  panels: readonly Panel[]
}
const expressions = panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => ({ title, expr: expr.replaceAll('$__rate_interval', '5m') }))
)

/** One sample a minute for two hours. */
const growing = (perMinute: number): string => `0+${perMinute}x120`
const constant = (value: number): string => `${value}x120`

const tenants = Array.from({ length: 20 }, (_, n) => `tenant-${n}`)
const noisy = 'tenant-7'
/** Seconds in the database by minute: 120 of the noisy tenant, 1 of each other. */
const series: Readonly<Record<string, string>> = {
  ...Object.fromEntries(tenants.flatMap(tenant => {
    const weight = tenant === noisy ? 120 : 1
    return [
      [`tenancy_database_seconds_total{tenant="${tenant}"}`, growing(weight)],
      [`tenancy_database_wait_seconds_total{tenant="${tenant}"}`, growing(weight)],
      [`tenancy_requests_total{tenant="${tenant}",class="2xx"}`, growing(60 * weight)],
      [`tenancy_tenant_refusals_total{tenant="${tenant}"}`, growing(weight)]
    ]
  })),
  'tenancy_requests_total{tenant="none",class="4xx"}': growing(30),
  'tenancy_refusals_total{code="FST_TENANCY_RATE_LIMITED"}': growing(6),
  'tenancy_limited_total{limit="tenant",mode="enforce"}': growing(6),
  ...Object.fromEntries(['0.1', '1', '+Inf'].flatMap((le, n) => [
    [`tenancy_request_duration_seconds_bucket{mode="required",le="${le}"}`, growing(60 * (n + 1))],
    [`tenancy_statement_duration_seconds_bucket{operation="SELECT",le="${le}"}`, growing(60 * (n + 1))]
  ])),
  'tenancy_connections': constant(7),
  'tenancy_connection_queue': constant(12),
  'tenancy_cache_reads_total{result="hit"}': growing(3),
  'tenancy_cache_reads_total{result="miss"}': growing(1),
  'tenancy_registry_reads': growing(60),
  'tenancy_registry_failures': growing(60),
  'tenancy_statement_failures_total{code="22012"}': growing(6),
  'tenancy_down{part="redis"}': constant(1),
  'tenancy_redis_breaker{state="open"}': constant(1),
  'tenancy_redis_breaker{state="closed"}': constant(0),
  'tenancy_isolation_breaches_total': growing(1),
  'tenancy_refused_queries_total': growing(1),
  'tenancy_bypasses_total{write="true"}': growing(1)
}

interface Sample {
  readonly labels: string
  readonly value: number
}

const shares = tenants.map(tenant => ({ tenant, share: (tenant === noisy ? 120 : 1) / 60 }))
/** What some panels show after an hour. Of the others, only that they show something is expected. */
const shown: Readonly<Record<string, readonly Sample[]>> = {
  'Busiest tenants by time in the database': shares.toSorted((a, b) => b.share - a.share).slice(0, 1).map(
    ({ tenant, share }) => ({ labels: `{tenant="${tenant}"}`, value: share })
  ),
  'Cache hits': [{ labels: '{}', value: 0.75 }],
  'Refusals by code': [{ labels: '{code="FST_TENANCY_RATE_LIMITED"}', value: 0.1 }]
}

function expectation (title: string, expr: string): object {
  const samples = shown[title]
  if (samples === undefined)
    return { expr: `count(${expr}) > bool 0`, eval_time: '60m', exp_samples: [{ labels: '{}', value: 1 }] }
  return { expr: expr.replace(/^topk\(10,/, 'topk(1,'), eval_time: '60m', exp_samples: samples }
}

/** Writes a file of expectations for promtool. JSON is YAML. */
function rulesTest (t: Test, name: string, group: object): string {
  const temporary = mkdtempSync(join(tmpdir(), 'tenancy-promql-'))
  t.teardown(() => {
    rmSync(temporary, { recursive: true })
  })
  const file = join(temporary, `${name}.json`)
  const inputs = Object.entries(series).map(([series, values]) => ({ series, values }))
  writeFileSync(
    file,
    JSON.stringify({
      rule_files: [alertsFile],
      evaluation_interval: '1m',
      tests: [{ interval: '1m', input_series: inputs, ...group }]
    })
  )
  return file
}

t.test('TEL-15 Prometheus evaluates every query of the dashboard, and the noisy tenant is first', {
  skip: noPromtool
}, async t => {
  t.ok(expressions.length > 20)
  const promql_expr_test = expressions.map(({ title, expr }) => expectation(title, expr))
  t.equal(testRules(rulesTest(t, 'dashboard', { promql_expr_test })), '')
  const control = {
    expr: 'sum(tenancy_connections)',
    eval_time: '60m',
    exp_samples: [{ labels: '{}', value: 8 }]
  }
  t.match(testRules(rulesTest(t, 'control', { promql_expr_test: [control] })), /FAILED/, 'control')
})

t.test('TEL-16 each alert fires on its condition, and names the noisy tenant', {
  skip: noPromtool
}, async t => {
  const { groups } = parse(readFileSync(alertsFile, 'utf8')) as {
    groups: readonly { rules: readonly { alert: string }[] }[]
  }
  const alerts = groups.flatMap(({ rules }) => rules.map(({ alert }) => alert))
  t.ok(alerts.includes('TenancyNoisyTenant'))
  // The labels of ALERTS show which tenant or part an alert names.
  const promql_expr_test = [
    ...alerts.map(alert => ({
      expr: `count(ALERTS{alertname="${alert}",alertstate="firing"})`,
      eval_time: '60m',
      exp_samples: [{ labels: '{}', value: 1 }]
    })),
    {
      expr: 'count by (tenant) (ALERTS{alertname="TenancyNoisyTenant",alertstate="firing"})',
      eval_time: '60m',
      exp_samples: [{ labels: `{tenant="${noisy}"}`, value: 1 }]
    },
    { expr: 'ALERTS{alertname="TenancyNoisyTenant",alertstate="firing"}', eval_time: '5m', exp_samples: [] }
  ]
  t.equal(testRules(rulesTest(t, 'alerts', { promql_expr_test })), '')
})
