import { badge, distance, milliseconds, moment, number } from '../html/format.ts'
import { html, type Html, type HtmlValue } from '../html/html.ts'
import { plot } from '../plots/plot.ts'
import type { PoolPoint } from '../plots/pool-history.ts'
import type { Samples } from '../plots/samples.ts'
import type { SuiteHealth } from '../data/suite.ts'
import { table } from '../html/table.ts'
import { notice } from './page.ts'

/**
 * What the page of the fleet shows. All of it is in memory, so the page also opens while every
 * database is away.
 */
interface FleetView {
  readonly base: string
  readonly health: SuiteHealth
  readonly samples: Samples
}

const busiest = 10

/** How the parts do that all tenants share. */
export function fleetPage (view: FleetView): Html {
  return html`<p class="live" id="live-state">Reload the page for newer numbers</p>
<div data-live="${view.base}/fleet/live">${fleet(view)}</div>`
}

/** The part of the page that is renewed. */
export function fleet ({ base, health, samples }: FleetView): Html {
  return html`${overall(health)}
<section class="card" aria-labelledby="parts-title"><h2 id="parts-title">Parts</h2>${parts(health)}</section>
<section class="card" aria-labelledby="pools-title"><h2 id="pools-title">Pools of this process</h2>
${pools(samples.pools.points, health)}</section>
<section class="card" aria-labelledby="resolver-title"><h2 id="resolver-title">Registry and look-ups</h2>
${facts(lookups(health))}</section>
<section class="card" aria-labelledby="busy-title"><h2 id="busy-title">Busiest tenants, last 15 minutes</h2>
${busyTenants(base, samples)}</section>`
}

function overall ({ status, down }: SuiteHealth): Html {
  if (status === 'ok') return notice('good', 'All parts answer.')
  const what = down.length === 0 ? 'a part answers too slowly' : down.join(', ')
  return status === 'down'
    ? notice('bad', html`<strong>No database answers.</strong> Not well: ${what}.`)
    : notice('warn', html`<strong>Degraded.</strong> Not well: ${what}. The rest is served.`)
}

function parts ({ registry, shards, redis, limits, database: { isolationLevel } }: SuiteHealth): Html {
  return table('Parts', ['Part', 'State', 'Remarks'], [
    ['registry', badge(registry), undefined],
    ...Object.entries(shards).map(([name, state]): HtmlValue[] => [`shard ${name}`, badge(state), undefined]),
    ['redis', redis === undefined ? badge('not configured') : badge(redis.status), redis === undefined
      ? 'Look-ups, limits and cached values are kept in this process: run only one.'
      : html`circuit breaker ${badge(redis.breaker)}`],
    ['limits file', limits === undefined ? badge('none') : badge(limits.status), limits &&
      html`${limits.file}, read ${moment(limits.loadedAt)} (${distance(limits.loadedAt)})${
        limits.problem !== undefined && html`<span class="sub">${limits.problem}</span>`
      }`],
    ['isolation level', isolationLevel === undefined ? badge('unknown') : badge(`L${isolationLevel}`),
      html`Reached at the boot. The doctor says what keeps the next level away.`]
  ])
}

function pools (points: readonly PoolPoint[], { database: { connections, waiting } }: SuiteHealth): Html {
  return html`<div class="plots">${
    plot({
      id: 'connections',
      title: 'Connections',
      now: `${number(connections)} open, ${number(waiting)} ${
        waiting === 1 ? 'caller waits' : 'callers wait'
      }`,
      note: 'Connections of this process to all shards, and callers that wait for one.',
      lines: [{ name: 'connections', values: points.map(({ connections }) => connections) }, {
        name: 'waiting',
        values: points.map(({ waiting }) => waiting)
      }],
      moments: points.map(({ at }) => at),
      unit: 'at once'
    })
  }</div>`
}

function lookups ({ resolver }: SuiteHealth): readonly (readonly [string, HtmlValue])[] {
  return [
    ['Look-ups', badge(resolver.status)],
    ['Tenants remembered', number(resolver.tenants)],
    ['Unknown names remembered', number(resolver.unknown)],
    ['Reads of the registry', number(resolver.registryReads)],
    ['Reads that failed', number(resolver.registryFailures)],
    ['Bad records in Redis', number(resolver.droppedRecords)]
  ]
}

function facts (all: readonly (readonly [string, HtmlValue])[]): Html {
  return html`<dl class="facts">${
    all.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)
  }</dl>`
}

function busyTenants (base: string, { usage }: Samples): Html {
  if (usage === undefined)
    return notice(
      'quiet',
      'Telemetry is not installed, so this process counts no requests and no statements of tenants.'
    )
  const found = usage.busiest(busiest)
  if (found.length === 0) return html`<p class="empty">No tenant was served since the count began.</p>`
  return table(
    'Busiest tenants',
    ['Tenant', 'Database time', 'Share', 'Requests', 'Refused', 'Failed statements'],
    found.map(({ id, slug, databaseTime, share, requests, refusals, failedStatements }) => [
      html`<a href="${base}/tenants/${id}">${slug}</a>`,
      milliseconds(databaseTime),
      `${number(share * 100)} %`,
      number(requests),
      number(refusals),
      number(failedStatements)
    ])
  )
}
