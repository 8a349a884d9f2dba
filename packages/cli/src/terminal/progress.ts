import type { Progress } from '@fastify-tenancy/manager'
import { MultiBar, type SingleBar } from 'cli-progress'
import type { Writable } from 'node:stream'

/** Shows the progress of long work, until `stop()`. */
export interface ProgressView {
  show(event: Progress): void
  /** Prints a line that stays, above the bars if there are any. */
  log(line: string): void
  /** Ends the bars, so that later output stands below them. Idempotent. */
  stop(): void
}

/** The stream that shows progress. `columns` is the width of a terminal. */
type ProgressStream = Writable & { readonly isTTY?: boolean; readonly columns?: number }

/**
 * Shows bars at a terminal: one in total and one per worker. Elsewhere prints one line a second.
 */
export function showProgress (stream: ProgressStream, print: (line: string) => void): ProgressView {
  return stream.isTTY === true ? showBars(stream, print) : showLines(print)
}

const narrowest = 40

function showBars (stream: ProgressStream, print: (line: string) => void): ProgressView {
  const columns = Math.max(narrowest, stream.columns ?? 80)
  const barsize = Math.max(8, Math.min(40, Math.floor(columns / 4)))
  const nameOf = names()
  const bars = new MultiBar({
    stream: stream as NodeJS.WritableStream,
    barsize,
    // Cuts each line to the terminal's width, because a wrapped line would displace the bars below
    // it.
    format: (_, { value, total, progress }, { name, rest }: { name: string; rest: string }) => {
      const done = Math.round(progress * barsize)
      return `${name} ${'█'.repeat(done)}${'░'.repeat(barsize - done)} ${value}/${total}${rest}`.slice(
        0,
        columns - 1
      )
    },
    hideCursor: true,
    clearOnComplete: false
  })
  const byWorker = new Map<number | 'all', SingleBar>()
  const started = performance.now()
  let isStopped = false
  const bar = (worker: number | 'all', total: number): SingleBar => {
    const known = byWorker.get(worker)
    if (known !== undefined) {
      known.setTotal(total)
      return known
    }
    const made = bars.create(total, 0, { name: worker === 'all' ? 'all' : `worker ${worker}`, rest: '' })
    byWorker.set(worker, made)
    return made
  }
  return {
    show (event) {
      if (isStopped) return
      const { worker, done = 0, total = 0 } = event
      const rate = done / Math.max((performance.now() - started) / 1_000, 0.001)
      const left = rate > 0 ? `${Math.ceil((total - done) / rate)} s` : '?'
      const what = [event.operation, nameOf(event), event.step].filter(Boolean).join(' ')
      if (total > 0)
        bar('all', total).update(done, { rest: ` · ${rate.toFixed(1)}/s · ${left} left · ${what}` })
      if (worker !== undefined) bar(worker, total).increment(1, { rest: ` · ${what}` })
    },
    log (line) {
      if (isStopped || byWorker.size === 0) return print(line)
      bars.log(`${line}\n`)
    },
    stop () {
      if (isStopped) return
      isStopped = true
      bars.stop()
    }
  }
}

/** Least time between two lines, in milliseconds. */
const lineIntervalMs = 1_000

function showLines (print: (line: string) => void): ProgressView {
  const nameOf = names()
  let last = -lineIntervalMs
  let held: string | undefined
  return {
    show (event) {
      const { operation, worker, step, done, total } = event
      const count = done === undefined ? '' : total === undefined ? ` ${done}` : ` ${done}/${total}`
      const line = [`${operation}${count}`, worker === undefined ? undefined : `worker ${worker}`,
        nameOf(event), step]
        .filter(Boolean).join(' · ')
      const now = performance.now()
      // Prints single steps and the end always, and a growing count at most once a second.
      const isCount = done !== undefined && done !== total
      if (isCount && now - last < lineIntervalMs) {
        held = line
        return
      }
      last = now
      held = undefined
      print(line)
    },
    log: print,
    stop () {
      if (held !== undefined) print(held)
      held = undefined
    }
  }
}

/** Names tenants by slug, or by id if no event has named the slug. */
function names (): (event: Progress) => string | undefined {
  const slugs = new Map<string, string>()
  return ({ tenant, slug }) => {
    if (tenant === undefined) return undefined
    if (slug !== undefined) slugs.set(tenant, slug)
    return slugs.get(tenant) ?? tenant
  }
}
