// Many processes that share one Redis, in virtual time: the real limiter and the real script, which
// gets its clock as an argument.
import type { Redis } from 'ioredis'

import type { TenancyRedis } from '@fastify-tenancy/redis'

import { SharedLimiter, type LimiterSettings } from '../../packages/rate-limit/src/limiter.ts'
import type { Quota } from '../../packages/rate-limit/src/quota.ts'
import { consumeScript } from '../../packages/rate-limit/src/redis-limiter.ts'

/**
 * The script with the server's clock replaced by an argument in milliseconds. Keys do not expire,
 * because real time is slower than virtual time.
 */
export const virtualScript: string = [
  ["redis.call('TIME')", '{ math.floor(ARGV[#ARGV] / 1000), ARGV[#ARGV] % 1000 * 1000 }'],
  ["'PX', ring.n * ring.width", "'PX', 3600000"]
].reduce((lua, [real = '', virtual = '']) => {
  if (lua.split(real).length !== 2) throw new Error(`the script is to have '${real}' once`)
  return lua.replace(real, virtual)
}, consumeScript.lua)

export interface Request {
  readonly at: number
  readonly process: number
  readonly cost?: number
}

export interface Outcome {
  /** Instants of admissions, each repeated as often as it cost. */
  readonly log: number[]
  readonly denied: number
  /** Number of scripts that Redis ran. */
  readonly runs: number
}

export interface World extends Partial<Pick<LimiterSettings, 'precision'>> {
  readonly processes: number
  /** Start of the virtual clock in milliseconds, not later than the first request. */
  readonly start: number
  readonly quotas: (request: Request) => readonly Quota[]
  readonly onAdmitted?: (request: Request) => void
  /** From this instant on the process does nothing more. It does not even return its leases. */
  readonly killed?: { readonly process: number; readonly at: number }
  /** @default virtualScript */
  readonly script?: string
}

/**
 * Sends each request to its process and records admissions. Redis replies at once, and the clocks
 * of processes differ.
 */
export async function play (
  redis: Redis,
  requests: readonly Request[],
  { processes, start, quotas, onAdmitted, killed, precision = 'exact', script = virtualScript }: World
): Promise<Outcome> {
  let now = start
  let runs = 0
  // Limiters also sweep in real time. A killed process must not reach Redis by its sweep either.
  const isDead = (process: number): boolean => killed?.process === process && now >= killed.at
  const port = (process: number): TenancyRedis =>
    ({
      get isAvailable () {
        return !isDead(process)
      },
      run (_script: unknown, keys: string[], args: number[]) {
        if (isDead(process)) return Promise.reject(new Error('killed'))
        runs++
        return redis.eval(script, keys.length, ...keys, ...args, now)
      }
    }) as unknown as TenancyRedis
  const settings: LimiterSettings = {
    onStoreError: 'local',
    precision,
    processes: () => processes,
    log: { info () {}, warn () {}, error () {} }
  }
  const limiters = Array.from(
    { length: processes },
    (_, at) => new SharedLimiter(port(at), settings, () => now - start + at * 12_345.6)
  )
  const log: number[] = []
  let denied = 0
  let sweep = start
  for (const request of requests) {
    for (; sweep + 100 <= request.at; sweep += 100) {
      now = sweep + 100
      for (const limiter of limiters) void limiter.sweep()
    }
    now = request.at
    const cost = request.cost ?? 1
    const verdict = await limiters[request.process]!.take(quotas(request), cost)
    if (verdict?.wait !== 0) {
      denied++
      continue
    }
    for (let i = 0; i < cost; i++) log.push(request.at)
    onAdmitted?.(request)
  }
  await Promise.all(limiters.map(limiter => limiter.close()))
  return { log, denied, runs }
}
