import { milliseconds, number } from '../html/format.ts'
import { html, type Html } from '../html/html.ts'
import type { ShownLimits } from '../data/suite.ts'
import { plot } from './plot.ts'
import type { UsagePoint } from './usage-history.ts'

const minuteMs = 60_000

/** The plots of one tenant. */
export function tenantPlots (points: readonly UsagePoint[], limits: ShownLimits | undefined): Html {
  const moments = points.map(({ at }) => at)
  const common = { moments }
  const minutes = points.map((point, index) => requestsInMinute(points, index, point))
  const busy = points.map(({ databaseTime, seconds }) => databaseTime / seconds)
  const shares = points.map(({ databaseTime, allDatabaseTime }) =>
    allDatabaseTime === 0 ? undefined : databaseTime / allDatabaseTime * 100
  )
  const hits = points.map(({ cacheHits, cacheMisses }) =>
    cacheHits + cacheMisses === 0 ? undefined : cacheHits / (cacheHits + cacheMisses) * 100
  )
  const refusals = points.map(({ refusals }) => refusals)
  const failures = points.map(({ failedStatements }) => failedStatements)
  const last = points.at(-1)
  return html`<div class="plots">
${
    plot({
      ...common,
      id: 'requests',
      title: 'Requests against the limit',
      now: `${number(minutes.at(-1) ?? 0)} in the last minute, ${limitText(limits)}`,
      note: 'Requests of this process in 60 s. The limit holds for all processes together.',
      lines: [{ name: 'requests in 60 s', values: minutes }],
      limit: typeof limits?.rpm === 'number'
        ? { name: `limit, ${number(limits.rpm)}`, value: limits.rpm }
        : undefined,
      unit: 'requests'
    })
  }
${
    plot({
      ...common,
      id: 'database',
      title: 'Time in the database',
      now: `${milliseconds(busy.at(-1) ?? 0)} of each second`,
      note: 'Time of the tenant’s statements, and of waiting for a connection, per second.',
      lines: [{ name: 'statements', values: busy }, {
        name: 'waiting',
        values: points.map(({ databaseWait, seconds }) => databaseWait / seconds)
      }],
      unit: 'ms'
    })
  }
${
    plot({
      ...common,
      id: 'share',
      title: 'Share of the database time',
      now: shares.at(-1) === undefined
        ? 'no tenant used the database just now'
        : `${number(shares.at(-1) ?? 0)} % of all tenants’ time`,
      note: 'The tenant’s part of the database time of all tenants in this process.',
      lines: [{ name: 'share', values: shares }],
      most: 100,
      unit: '%'
    })
  }
${
    plot({
      ...common,
      id: 'cache',
      title: 'Cache hits',
      now: hits.at(-1) === undefined ? 'no reads just now' : `${number(hits.at(-1) ?? 0)} % of reads`,
      note: 'Reads of the cache that found a value.',
      lines: [{ name: 'hits', values: hits }],
      most: 100,
      unit: '%'
    })
  }
${
    plot({
      ...common,
      id: 'errors',
      title: 'Errors',
      now: `${number(last?.refusals ?? 0)} refused requests, ${
        number(last?.failedStatements ?? 0)
      } failed statements`,
      note: 'In each 15 s. Refused: by a limit, by the resolver, or with 503.',
      lines: [{ name: 'refused requests', values: refusals }, {
        name: 'failed statements',
        values: failures
      }],
      unit: 'in 15 s'
    })
  }
</div>`
}

function requestsInMinute (points: readonly UsagePoint[], index: number, { at }: UsagePoint): number {
  return points.slice(0, index + 1)
    .filter(point => at.getTime() - point.at.getTime() < minuteMs)
    .reduce((sum, { requests }) => sum + requests, 0)
}

function limitText (limits: ShownLimits | undefined): string {
  if (limits === undefined) return 'no limiter'
  return limits.rpm === 'unlimited' ? 'no limit' : `of ${number(limits.rpm)}`
}
