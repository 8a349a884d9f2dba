import { sliceMs, type Sample } from './race.ts'

/**
 * Calls `work` repeatedly for one slice. `each` is the CPU time of one call on this thread in µs,
 * which excludes other load on the machine.
 */
export function repeat (work: () => unknown): Promise<Sample> {
  const start = performance.now()
  const end = start + sliceMs
  const before = process.threadCpuUsage()
  let calls = 0
  let now = start
  for (; now < end; now = performance.now()) {
    for (let i = 0; i < 1_000; i++) work()
    calls += 1_000
  }
  return Promise.resolve({ each: since(before) / calls })
}

/** Like the function above, for asynchronous work: awaits each call before the next. */
export async function repeatAsync (work: () => Promise<unknown>): Promise<Sample> {
  const start = performance.now()
  const end = start + sliceMs
  const before = process.threadCpuUsage()
  let calls = 0
  let now = start
  for (; now < end; now = performance.now()) {
    for (let i = 0; i < 100; i++) await work()
    calls += 100
  }
  return { each: since(before) / calls }
}

function since (before: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(before)
  return user + system
}
