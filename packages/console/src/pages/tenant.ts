import type { TenantRecord } from '@fastify-tenancy/core'
import type { AuditEntry, UnfinishedWork } from '@fastify-tenancy/manager'

import { actions, type ActionName } from '../data/actions.ts'
import { badge, distance, moment, number } from '../html/format.ts'
import { html, type Html, type HtmlValue } from '../html/html.ts'
import { tenantPlots } from '../plots/tenant-plots.ts'
import type { UsagePoint } from '../plots/usage-history.ts'
import type { KnownReading } from '../data/recent.ts'
import type { ShownLimits } from '../data/suite.ts'
import { table } from '../html/table.ts'
import { migrationCell, type Migrations } from './migrations.ts'
import { notice } from './page.ts'
import { unfinishedNotices } from './unfinished.ts'

/** What the page of one tenant shows. */
interface TenantView {
  readonly base: string
  readonly tenant: TenantRecord
  readonly limits: ShownLimits | undefined
  /** Undefined without telemetry. */
  readonly points: readonly UsagePoint[] | undefined
  /** The newest first. */
  readonly audit: readonly AuditEntry[]
  readonly work: UnfinishedWork | undefined
  readonly migrations: KnownReading<Migrations>
  readonly done: ActionName | undefined
}

/** One tenant: what it is, what can be done, what it uses, and what was done to it. */
export function tenantPage (view: TenantView): Html {
  const { base, tenant, work, done, audit } = view
  return html`${done && notice('good', actions[done].done)}
${unfinishedNotices(work, tenant.slug)}
<section class="card" aria-labelledby="facts-title"><h2 id="facts-title">Facts</h2>${facts(view)}</section>
<section class="card" aria-labelledby="actions-title"><h2 id="actions-title">Actions</h2>${
    actionForms(base, tenant)
  }</section>
<section class="card" aria-labelledby="usage-title"><h2 id="usage-title">Usage in this process</h2>
<p class="live" id="live-state">Reload the page for newer numbers</p>
<div data-live="${base}/tenants/${tenant.id}/live">${usage(view)}</div></section>
<section class="card" aria-labelledby="audit-title"><h2 id="audit-title">Recent audit</h2>${
    auditTable(audit)
  }</section>`
}

/** The part of the page that is renewed. */
export function usage ({ points, limits }: Pick<TenantView, 'points' | 'limits'>): Html {
  return points === undefined
    ? notice(
      'quiet',
      'Telemetry is not installed, so this process counts no requests and no statements of tenants.'
    )
    : tenantPlots(points, limits)
}

function facts ({ tenant, limits, migrations }: TenantView): Html {
  const { id, name, status, plan, isolation, placement, domains, createdAt, updatedAt, version } = tenant
  const { schema, database } = placement
  const all: readonly (readonly [string, HtmlValue])[] = [
    ['Status', badge(status)],
    ['Name', name],
    ['Id', id],
    ['Plan', plan],
    ['Limits', limitsText(limits)],
    ['Strategy', isolation],
    ['Shard', placement.shard],
    ...(schema === undefined ? [] : [['Schema', schema] as const]),
    ...(database === undefined ? [] : [['Database', shownDatabase(database)] as const]),
    ['Migration', migrationCell(migrations, tenant) ?? html`<span class="soft">none</span>`],
    ['Domains', domains.length === 0 ? html`<span class="soft">none</span>` : domains.join(', ')],
    ['Created', moment(createdAt)],
    ['Changed', html`${moment(updatedAt)}<span class="sub">${distance(updatedAt)}, version ${version}</span>`]
  ]
  return html`<dl class="facts">${
    all.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)
  }</dl>
<details><summary>Settings</summary><pre><code>${
    JSON.stringify(tenant.settings, null, 2)
  }</code></pre></details>`
}

// What `tenants.decrypt` reads may be a URL with a password, plain or encrypted.
function shownDatabase (database: string): string {
  return /^[\w-]{1,63}$/.test(database) ? database : 'its own address, not shown'
}

/** Limits in words. */
export function limitsText (limits: ShownLimits | undefined): string {
  if (limits === undefined) return 'no limiter in this application'
  const { rpm, burst, concurrency, perClient } = limits
  return [
    rpm === 'unlimited' ? 'unlimited requests' : `${number(rpm)} a minute`,
    burst !== undefined && `${number(burst)} a second`,
    concurrency !== undefined && `${number(concurrency)} at once in a process`,
    perClient !== undefined && `${number(perClient)} a minute from one address`
  ].filter(part => part !== false).join(', ')
}

function actionForms (base: string, { id, plan, status }: TenantRecord): Html {
  const can = (action: ActionName): boolean => actions[action].from.includes(status)
  const link = (action: ActionName): HtmlValue =>
    can(action) &&
    html`<a class="button${
      actions[action].isDangerous && ' danger'
    }" href="${base}/tenants/${id}/${action}">${actions[action].label}…</a>`
  const any = can('suspend') || can('resume') || can('plan') || can('invalidate')
  if (!any) return html`<p class="empty">A tenant that is ${status} can only be looked at here.</p>`
  return html`<div class="actions">${link('suspend')}${link('resume')}${link('invalidate')}${
    can('plan') && html`<form class="row" method="get" action="${base}/tenants/${id}/plan">
<label>New plan<input name="plan" value="${plan}"
  required maxlength="63" autocomplete="off" spellcheck="false"></label>
<button>${actions.plan.label}…</button></form>`
  }</div><p
    class="note">Each action asks for a confirmation first, and is written into the audit with your name.</p>`
}

function auditTable (entries: readonly AuditEntry[]): Html {
  if (entries.length === 0)
    return html`<p class="empty">Nothing was done to this tenant in the last 90 days.</p>`
  return table(
    'Recent audit',
    ['When', 'Action', 'By', 'Details'],
    entries.map(({ at, action, actor, details }) => [
      html`${moment(at)}<span class="sub">${distance(at)}</span>`,
      action,
      actor,
      Object.keys(details).length === 0
        ? html`<span class="soft">–</span>`
        : html`<code>${JSON.stringify(details)}</code>`
    ])
  )
}
