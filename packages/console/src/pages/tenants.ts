import { tenantStatuses, type TenantRecord } from '@fastify-tenancy/core'
import type { TenantPage, UnfinishedWork } from '@fastify-tenancy/manager'

import { badge, distance } from '../html/format.ts'
import { html, type Html, type HtmlValue } from '../html/html.ts'
import type { KnownReading } from '../data/recent.ts'
import { table } from '../html/table.ts'
import { migrationCell, type Migrations } from './migrations.ts'
import { notice } from './page.ts'
import { unfinishedCell, unfinishedList } from './unfinished.ts'

/** What the page of tenants shows. */
interface TenantsView {
  readonly base: string
  readonly text: string
  readonly status: string
  readonly isFirst: boolean
  readonly found: TenantPage
  readonly unfinished: readonly UnfinishedWork[]
  readonly migrations: KnownReading<Migrations>
}

/** Tenants by slug, 50 a page. */
export function tenantsPage (view: TenantsView): Html {
  const { base, found, unfinished, migrations } = view
  const work = new Map(unfinished.map(each => [each.tenant, each]))
  return html`${searchForm(view)}
${migrationNotice(migrations)}
${unfinishedList(base, unfinished)}
<section class="card" aria-label="Tenants">
${
    found.tenants.length === 0
      ? html`<p class="empty">No tenant is found.</p>`
      : table(
        'Tenants',
        ['Tenant', 'Status', 'Plan', 'Strategy', 'Shard', 'Migration', 'Unfinished'],
        found.tenants.map(tenant => row(base, tenant, migrations, work.get(tenant.id)))
      )
  }
</section>
${pager(view)}`
}

function row (
  base: string,
  tenant: TenantRecord,
  migrations: KnownReading<Migrations>,
  work: UnfinishedWork | undefined
): HtmlValue[] {
  const { id, slug, name, status, plan, isolation, placement: { shard } } = tenant
  return [
    html`<a href="${base}/tenants/${id}">${slug}</a>${
      name !== slug && html`<span class="sub">${name}</span>`
    }`,
    badge(status),
    plan,
    isolation,
    shard,
    migrationCell(migrations, tenant),
    unfinishedCell(work)
  ]
}

function searchForm ({ base, text, status }: TenantsView): Html {
  return html`<form class="card row" role="search" action="${base}/" method="get">
<label>Slug, name, id or domain<input type="search" name="q" value="${text}" maxlength="253"></label>
<label>Status<select name="status"><option value="">all but deleted</option>${
    tenantStatuses.map(each =>
      html`<option value="${each}"${each === status && html` selected`}>${each}</option>`
    )
  }</select></label>
<button class="main">Search</button>
${(text !== '' || status !== '') && html`<a class="button" href="${base}/">Show all</a>`}
</form>`
}

function pager ({ base, text, status, isFirst, found: { next } }: TenantsView): Html {
  const filter = { ...(text !== '' && { q: text }), ...(status !== '' && { status }) }
  const link = (more: Record<string, string>): string =>
    `${base}/?${new URLSearchParams({ ...filter, ...more }).toString()}`
  return html`<nav class="pager" aria-label="Pages">${
    !isFirst && html`<a class="button" href="${link({})}">First page</a>`
  }${
    next && html`<a class="button" href="${link({ slug: next.slug, id: next.id })}" rel="next">Next 50</a>`
  }</nav>`
}

/** What of the migrations needs attention, whatever page the tenants are on. */
function migrationNotice ({ reading, error, isReading }: KnownReading<Migrations>): HtmlValue {
  if (reading === undefined)
    return isReading
      ? notice('quiet', 'The migrations are being read. Reload the page in a moment.')
      : notice(
        'warn',
        `The migrations could not be read: ${error instanceof Error ? error.message : String(error)}`
      )
  const { tenants, unreachable } = reading.value
  const behind = [...tenants.values()].filter(({ isBehind }) => isBehind).length
  return [
    ...unreachable.map(({ shard, error }) =>
      notice('bad', html`Shard <strong>${shard}</strong> cannot be reached: ${error}`)
    ),
    behind > 0 &&
    notice(
      'warn',
      html`${behind} ${behind === 1 ? 'tenant is' : 'tenants are'} behind the newest migration, as of ${
        distance(reading.at)
      }. Run <code>npx tenancy migrate --tenants</code>.`
    )
  ]
}
