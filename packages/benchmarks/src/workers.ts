import { quantile, sliceMs, type Sample } from './race.ts'

/**
 * Keeps `inFlight` calls of `work` in flight for one slice. Figures: `p50`, `p99` in ms;
 * `perSecond`; `clientCpu`, this process' CPU per call in µs; `serverCpu`, the server's, which
 * `cpu` reads in µs.
 */
export async function drive (
  inFlight: number,
  work: () => Promise<unknown>,
  cpu: () => number = () => 0
): Promise<Sample> {
  const times: number[] = []
  const start = performance.now()
  const serverBefore = cpu()
  const before = process.cpuUsage()
  const end = start + sliceMs
  await Promise.all(Array.from({ length: inFlight }, async () => {
    for (let now = performance.now(); now < end;) {
      await work()
      const done = performance.now()
      times.push(done - now)
      now = done
    }
  }))
  const elapsed = performance.now() - start
  const own = process.cpuUsage(before)
  const server = cpu() - serverBefore
  const sorted = Float64Array.from(times).toSorted()
  return {
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    perSecond: times.length / elapsed * 1_000,
    clientCpu: (own.user + own.system) / times.length,
    serverCpu: server / times.length
  }
}
