import type { DoctorReport, ShardFinding } from '@fastify-tenancy/manager'

import { badge, distance, milliseconds, moment } from '../html/format.ts'
import { html, type Html } from '../html/html.ts'
import type { KnownReading } from '../data/recent.ts'
import { notice } from './page.ts'

/** The most findings that are shown. */
const most = 200

/** What the doctor found, with the SQL that mends it. */
export function doctorPage (base: string, { reading, error, isReading }: KnownReading<DoctorReport>): Html {
  const failed = error !== undefined &&
    notice(
      'bad',
      html`<strong>The last examination failed:</strong> ${
        error instanceof Error ? error.message : String(error)
      }`
    )
  if (reading === undefined)
    return html`${failed}${
      isReading
        ? notice(
          'quiet',
          'The doctor examines all databases at this moment. Reload the page in some seconds.'
        )
        : html`<p><a class="button" href="${base}/doctor?again=1">Examine again</a></p>`
    }`
  const { value: { level, reasons, findings, accepted }, at, took } = reading
  return html`${failed}
<section class="card" aria-labelledby="level-title"><h2 id="level-title">Isolation level ${
    badge(`L${level}`)
  }</h2>
${
    reasons.length > 0 &&
    html`<p>What keeps the next level away:</p><ul>${reasons.map(reason => html`<li>${reason}</li>`)}</ul>`
  }
<p class="soft">Examined ${moment(at)} (${distance(at)}), in ${milliseconds(took)}. It changed nothing.${
    isReading && ' Another examination is under way.'
  }</p>
<p><a class="button" href="${base}/doctor?again=1">Examine again</a></p></section>
<section class="card" aria-labelledby="findings-title"><h2 id="findings-title">${counted(findings)}</h2>
${accepted > 0 && html`<p class="soft">${accepted} more are accepted by the baseline.</p>`}
${
    findings.length > 0 &&
    html`<p>Read a statement before you run it, as the owner’s login, on the shard that is named.</p>`
  }
${findings.slice(0, most).map(finding)}
${
    findings.length > most &&
    html`<p>The first ${most} are shown. <code>npx tenancy doctor</code> lists all.</p>`
  }
</section>`
}

function finding ({ id, level, object, meaning, fix, shard }: ShardFinding): Html {
  return html`<article class="finding">
<h3>${badge(level)} ${id} <span>${object}</span> <span class="badge quiet">shard ${shard}</span></h3>
<p>${meaning}</p>
<pre><code>${fix}</code></pre>
</article>`
}

function counted (findings: readonly ShardFinding[]): string {
  if (findings.length === 0) return 'No findings'
  return (['error', 'warning', 'info'] as const)
    .map(level => [level, findings.filter(finding => finding.level === level).length] as const)
    .filter(([, count]) => count > 0)
    .map(([level, count]) => `${count} ${level}${count > 1 && level !== 'info' ? 's' : ''}`)
    .join(', ')
}
