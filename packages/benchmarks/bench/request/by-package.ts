import type { Profiler } from 'node:inspector/promises'

/** Microseconds between two samples. */
export const interval = 200
// A longer gap means that the process waited for a CPU that other processes used.
const longest = 2 * interval

/** Returns the microseconds of a CPU profile by package, largest first, without idle time. */
export function byPackage (
  { nodes, samples = [], timeDeltas = [] }: Profiler.Profile
): [name: string, micros: number][] {
  const names = new Map(
    nodes.map(({ id, callFrame }) => [id, packageOf(callFrame.functionName, callFrame.url)])
  )
  const times = new Map<string, number>()
  for (const [at, id] of samples.entries()) {
    const name = names.get(id) ?? ''
    times.set(name, (times.get(name) ?? 0) + Math.min(longest, timeDeltas[at] ?? 0))
  }
  times.delete('(idle)')
  return [...times].toSorted(([, one], [, other]) => other - one)
}

function packageOf (functionName: string, url: string): string {
  const installed = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]
  if (installed !== undefined) return installed
  const own = /\/packages\/([^/]+)\//.exec(url)?.[1]
  if (own !== undefined) return own === 'fastify-tenancy' ? own : `@fastify-tenancy/${own}`
  return functionName.startsWith('(') ? functionName : 'node'
}
