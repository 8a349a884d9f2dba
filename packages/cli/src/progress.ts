import type { Progress } from '@fastify-tenancy/manager'
import { MultiBar, type SingleBar } from 'cli-progress'
import type { Writable } from 'node:stream'

/** How often a line is written without a terminal, in milliseconds, where there is more to say than that. */
const linesEvery = 1_000

/** Shows the progress of long work: a bar for all and one a worker at a terminal, plain lines elsewhere. */
export function showProgress (stream: Writable & { readonly isTTY?: boolean }, log: (line: string) => void): { show (event: Progress): void, stop (): void } {
  return stream.isTTY === true ? showBars(stream) : showLines(log)
}

function showBars (stream: Writable): { show (event: Progress): void, stop (): void } {
  const bars = new MultiBar({
    stream: stream as NodeJS.WritableStream,
    format: '{name} {bar} {value}/{total} · {rate}/s · {left} left · {what}',
    hideCursor: true,
    clearOnComplete: false
  })
  const byWorker = new Map<number | 'all', SingleBar>()
  const started = performance.now()
  const bar = (worker: number | 'all', total: number): SingleBar => {
    const known = byWorker.get(worker)
    if (known !== undefined) return known
    const made = bars.create(total, 0, { name: worker === 'all' ? 'all' : `worker ${worker}`, rate: '0', left: '?', what: '' })
    byWorker.set(worker, made)
    return made
  }
  return {
    show ({ operation, tenant, worker, step, done = 0, total = 0 }) {
      const rate = done / Math.max((performance.now() - started) / 1_000, 0.001)
      const left = rate > 0 ? `${Math.ceil((total - done) / rate)} s` : '?'
      const what = [operation, tenant, step].filter(Boolean).join(' ')
      if (total > 0) bar('all', total).update(done, { rate: rate.toFixed(1), left, what })
      if (worker !== undefined) bar(worker, total).increment(1, { rate: '', left: '', what })
    },
    stop: () => { bars.stop() }
  }
}

function showLines (log: (line: string) => void): { show (event: Progress): void, stop (): void } {
  let last = -linesEvery
  return {
    show ({ operation, tenant, worker, step, done, total }) {
      const now = performance.now()
      // Of a thousand alike one a second is enough; single steps and the end are always told.
      if (total !== undefined && done !== total && now - last < linesEvery) return
      last = now
      const place = total === undefined ? '' : ` ${done ?? 0}/${total}`
      log([`${operation}${place}`, worker === undefined ? undefined : `worker ${worker}`, tenant, step].filter(Boolean).join(' · '))
    },
    stop () {}
  }
}
