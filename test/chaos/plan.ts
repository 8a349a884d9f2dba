// What breaks, in which order and for how long: the same for the same seed.
import type { Random } from '../isolation/fuzz/random.ts'

/** How the processes reach their servers. */
export const routes = ['direct', 'pgbouncer', 'cluster'] as const
export type Route = typeof routes[number]

const lanes = {
  servers: ['kill backends', 'restart postgres', 'cut postgres', 'drop postgres'],
  redis: ['freeze redis', 'restart redis', 'cut redis', 'drop redis'],
  cluster: ['failover'],
  processes: ['pause', 'kill', 'terminate', 'rotate'],
  tenants: ['suspend', 'rename', 'move', 'break limits']
} as const

export type Kind = typeof lanes[keyof typeof lanes][number]

export interface Step {
  readonly kind: Kind
  /** The process that it meets, if it meets one only. */
  readonly process: number
  /** The pause before it. */
  readonly afterMs: number
  /** How long it lasts, if it does not end by itself. */
  readonly holdMs: number
}

/** Lists of steps that run at the same time. A calm time follows in which service must be back. */
export type Round = readonly (readonly Step[])[]

interface Length {
  /** How many steps of each list a round has. */
  readonly steps: (all: number) => number
  readonly holdMs: readonly [number, number]
  readonly afterMs: readonly [number, number]
}

const shortLength: Length = { steps: all => all, holdMs: [200, 500], afterMs: [50, 250] }

/** A round in which each kind occurs once, in as little time as possible. */
export function shortRound (random: Random, route: Route, processes: number): Round {
  return round(random, route, processes, shortLength)
}

/** A round with some of the kinds. */
export function anyRound (random: Random, route: Route, processes: number): Round {
  return round(random, route, processes, {
    steps: all => 1 + random.below(all),
    holdMs: [100, 4_000],
    afterMs: [100, 2_500]
  })
}

function round (random: Random, route: Route, processes: number, length: Length): Round {
  const stores = route === 'cluster' ? lanes.cluster : lanes.redis
  const between = ([from, to]: readonly [number, number]): number => from + random.below(to - from)
  return [lanes.servers, stores, lanes.processes, lanes.tenants].map(lane => {
    const first = random.below(processes)
    return shuffled<Kind>(random, lane).slice(0, length.steps(lane.length)).map((kind, at) => ({
      kind,
      process: (first + at) % processes,
      afterMs: between(length.afterMs),
      holdMs: between(length.holdMs)
    }))
  })
}

function shuffled<T> (random: Random, items: readonly T[]): T[] {
  return items.map(item => [random.next(), item] as const).toSorted(([a], [b]) => a - b).map(([, item]) =>
    item
  )
}
