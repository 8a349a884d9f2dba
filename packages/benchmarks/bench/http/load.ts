// A process of its own: sends requests for one slice at a time, as told by IPC, and tells how many were answered.
import autocannon from 'autocannon'

import { sliceMs } from '../../src/race.ts'

export interface Answered {
  readonly requests: number
  readonly expected: number
  readonly seconds: number
  /** Milliseconds. */
  readonly p50: number
  /** This process' CPU, for a look at who was the bottleneck. */
  readonly cpu: number
}

process.on('message', ({ port, status, pipelining }: { port: number, status: number, pipelining: number }) => { void shoot(port, status, pipelining) })
process.on('disconnect', () => process.exit())

async function shoot (port: number, status: number, pipelining: number): Promise<void> {
  const before = process.cpuUsage()
  const start = performance.now()
  const result = await autocannon({ url: `http://127.0.0.1:${port}/`, connections: pipelining === 1 ? 32 : 2, pipelining, duration: sliceMs / 1_000, headers: { host: 't1.example.com' } })
  const own = process.cpuUsage(before)
  const answered: Answered = {
    requests: result.requests.total,
    expected: result.statusCodeStats?.[`${status}`]?.count ?? 0,
    seconds: (performance.now() - start) / 1_000,
    p50: result.latency.p50,
    cpu: own.user + own.system
  }
  process.send?.(answered)
}
