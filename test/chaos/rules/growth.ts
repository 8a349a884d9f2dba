import type { Rule, Sample } from '../history.ts'

const megabyte = 2 ** 20
/** A process may keep more after its first sample, because caches and code fill. */
const heapFactor = 1.5
const heapAllowance = 16 * megabyte
const handleAllowance = 20

/** Heap, handles and connections do not grow, and the processes leave nothing behind. */
export const growth: Rule = {
  name: 'connections and heap do not grow',
  check ({ samples, connections, bounds, processes, left }) {
    const first = new Map<number, Sample>()
    const grown = samples.flatMap(sample => {
      const before = first.get(sample.pid)
      if (before === undefined) first.set(sample.pid, sample)
      if (before === undefined) return []
      const name = `process ${sample.process} (${sample.pid})`
      return [
        ...sample.heap > before.heap * heapFactor + heapAllowance
          ? [`the heap of ${name} grew from ${mb(before.heap)} to ${mb(sample.heap)}`]
          : [],
        ...sample.handles > before.handles + handleAllowance
          ? [`the handles of ${name} grew from ${before.handles} to ${sample.handles}`]
          : []
      ]
    })
    const many = (['postgres', 'redis'] as const).flatMap(server => {
      const most = bounds.connections[server] * processes
      return connections.filter(each => each[server] > most).map(each =>
        `${each[server]} connections to ${server}, at most ${most} are expected`
      )
    })
    return [...grown, ...many, ...left]
  }
}

function mb (bytes: number): string {
  return `${(bytes / megabyte).toFixed(1)} MB`
}
