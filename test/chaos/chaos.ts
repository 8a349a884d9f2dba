// A run: traffic on three processes while the plan breaks their servers, then the checker.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'

import { Random } from '../isolation/fuzz/random.ts'
import { until } from '../support/until.ts'
import { check } from './check.ts'
import { runSteps, type Scene } from './faults.ts'
import type { Bounds, Call, History } from './history.ts'
import { anyRound, shortRound, type Round, type Route } from './plan.ts'
import { Processes } from './processes.ts'
import { Recorder } from './recorder.ts'
import { unserved } from './rules/recovery.ts'
import { countConnections, readLeft, readStored } from './stored.ts'
import { Workload } from './workload.ts'
import { openWorld, perMinute, processCount, roles, tenants } from './world.ts'

export interface ChaosOptions {
  readonly seed: number
  readonly route: Route
  /** How long rounds are begun; undefined for one short round with each kind of fault. */
  readonly seconds: number | undefined
  /** The file of the application. @default the suite's */
  readonly file?: string
  /** Steps in place of the plan's, one round of them. */
  readonly steps?: Round
  readonly bounds?: Partial<Bounds>
  /** The shortest and the longest pause of a client between two requests. */
  readonly pauseMs?: readonly [number, number]
  /** What must have happened before the run ends. @default nothing */
  readonly isEnough?: (calls: readonly Call[]) => boolean
}

export interface ChaosReport {
  readonly history: History
  /** By rule. */
  readonly violations: ReadonlyMap<string, readonly string[]>
  /** How long the machine gave a process no time, in seconds of all processes. */
  readonly stalledSeconds: number
}

const defaults: Bounds = {
  recoveryMs: 4_000,
  changeMs: 3_000,
  answerMs: 15_000,
  perMinute,
  connections: { postgres: 10, redis: 4 }
}

/** A stall of this length may look like an outage to a client of Redis. */
const longStallMs = 100

/** Runs the plan of a seed. */
export async function chaos (t: Test, options: ChaosOptions): Promise<ChaosReport> {
  const { seed, route, seconds, file = 'app.ts', steps } = options
  const bounds: Bounds = { ...defaults, ...options.bounds }
  const random = new Random(seed)
  const recorder = new Recorder()
  const world = await openWorld(t, route)
  const processes = await Processes.start(t, processCount, {
    file,
    settings: index => world.settings(index),
    onStall: (index, stallMs) => {
      recorder.stall(index, stallMs)
    }
  })
  const isShort = seconds === undefined
  const stopWatching = watchStalls(recorder)
  const workload = new Workload({
    random: new Random(seed + 1),
    recorder,
    tenants,
    limited: roles.limited,
    clientsPerTenant: isShort ? 2 : 3,
    pauseMs: options.pauseMs ?? (isShort ? [20, 120] : [5, 80]),
    processes: processCount,
    port: process => processes.port(process),
    slugs: tenant => world.slugs.get(tenant) ?? [tenant]
  })
  t.teardown(() => {
    stopWatching()
    return workload.stop()
  })
  const scene: Scene = { world, processes, recorder }
  const end = performance.now() + (seconds ?? 0) * 1_000
  await calm(scene, isShort ? 500 : bounds.recoveryMs)
  do {
    const round = steps ?? (isShort ? shortRound : anyRound)(random, route, processCount)
    // If one list fails, the others end before the servers do.
    const lists = await Promise.allSettled(round.map(list => runSteps(scene, list)))
    for (const list of lists) if (list.status === 'rejected') throw list.reason
    await calm(scene, bounds.recoveryMs + 1_000)
  } while (performance.now() < end)
  const about = { tenants, bounds, processes: processCount }
  await until(() => unserved({ ...about, ...recorder }).length === 0, bounds.answerMs).catch(() => {})
  await until(() => options.isEnough?.(recorder.calls) ?? true, 60_000)
  await workload.stop()
  await Promise.all(Array.from({ length: processCount }, (_, index) => processes.end(index, 'SIGTERM')))
  const history: History = {
    ...about,
    limited: roles.limited,
    calls: recorder.calls,
    faults: recorder.faults,
    changes: recorder.changes.toSorted((a, b) => a.begin - b.begin),
    samples: recorder.samples,
    connections: recorder.connections,
    deaths: processes.deaths,
    stored: await readStored(world),
    left: await readLeft(world)
  }
  const stalls = recorder.faults.filter(({ kind }) => kind === 'busy machine')
  return {
    history,
    violations: check(history),
    stalledSeconds: stalls.reduce((all, { begin, end }) => all + end - begin - 500, 0) / 1_000
  }
}

/** Waits while nothing is broken, and takes a sample. */
async function calm ({ world, processes, recorder }: Scene, forMs: number): Promise<void> {
  await pause(forMs)
  for (let index = 0; index < processCount; index++) {
    const sample = await processes.sample(index)
    if (sample !== undefined) recorder.samples.push(sample)
  }
  recorder.connections.push(await countConnections(world))
}

/** The clients and the proxies run in this process, so its stalls meet all processes. */
function watchStalls (recorder: Recorder): () => void {
  const delay = monitorEventLoopDelay()
  delay.enable()
  const timer = setInterval(() => {
    const stallMs = delay.max / 1e6
    delay.reset()
    if (stallMs > longStallMs) recorder.stall(undefined, stallMs)
  }, 500)
  return () => {
    clearInterval(timer)
    delay.disable()
  }
}
