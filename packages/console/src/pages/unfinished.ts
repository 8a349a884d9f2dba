import type { UnfinishedWork } from '@fastify-tenancy/manager'

import { distance, moment } from '../html/format.ts'
import { html, type Html } from '../html/html.ts'

/** The most that are listed one by one. */
const most = 100

/** What is left to do about one tenant, as a short sentence each; undefined for nothing. */
export function unfinishedCell (work: UnfinishedWork | undefined): Html | undefined {
  if (work === undefined) return undefined
  return html`${work.move && html`<span class="badge warn">move not confirmed</span>`}${
    work.deletion &&
    html`<span class="badge ${work.deletion.due.getTime() < Date.now() ? 'bad' : 'warn'}">deletion due ${
      distance(work.deletion.due)
    }</span>`
  }`
}

/** The same with all that is known and the command that ends it. */
export function unfinishedNotices (work: UnfinishedWork | undefined, slug: string): Html {
  const { move, deletion } = work ?? {}
  return html`${
    move &&
    html`<p class="notice warn"><strong>Move not confirmed:</strong> from ${move.from.isolation}
      on ${move.from.shard}
      to ${move.to.isolation} on ${move.to.shard}. ${
      move.isSwitched
        ? html`The tenant is served from the new place, and the old copy is locked.
          Remove it with <code>npx tenancy move ${slug} --confirm</code>.`
        : 'The tenant is still served from the old place.'
    }</p>`
  }${
    deletion &&
    html`<p class="notice bad"><strong>Deletion:</strong> the data is purged from ${moment(deletion.due)}
(${distance(deletion.due)})${
      deletion.keepsData && ', and its rows are kept'
    }. Take it back with <code>npx tenancy resume ${slug}</code>.</p>`
  }`
}

/** All tenants with work that is not finished, closed until it is asked for. */
export function unfinishedList (base: string, all: readonly UnfinishedWork[]): Html {
  if (all.length === 0) return html``
  const moves = all.filter(({ move }) => move !== undefined).length
  const deletions = all.length - all.filter(({ deletion }) => deletion === undefined).length
  return html`<details class="card"><summary>Unfinished work: ${count(moves, 'move')} not confirmed, ${
    count(deletions, 'deletion')
  } not purged</summary>
<ul>${
    all.slice(0, most).map(work =>
      html`<li><a href="${base}/tenants/${work.tenant}">${work.tenant}</a> ${unfinishedCell(work)}</li>`
    )
  }</ul>${
    all.length > most &&
    html`<p class="soft">And ${all.length - most} more: <code>npx tenancy list</code>.</p>`
  }</details>`
}

function count (number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
