import { SetupInvalidError, DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { connectError, sqlState } from '@fastify-tenancy/postgres/client'
import type { LevelReport } from '@fastify-tenancy/postgres/doctor'

import { DatabaseBusyError } from '../options/errors.ts'
import type { Shard } from './shard.ts'

/** Milliseconds until an unreachable shard is tried again. */
const unreachableRetryMs = 1_000

/**
 * Milliseconds until a shard that failed its checks is checked again. The checks read the whole
 * catalog.
 */
const refusedRetryMs = 30_000

/** The callbacks of {@link LateShards}. */
export interface LateShardSettings {
  /** Throws if the application must not be served from a shard with this report. */
  readonly check: (report: LevelReport) => void
  /** Called when a shard becomes served, and when the reason why it is not served has changed. */
  readonly onShard: (shard: string, problem: Error | undefined) => void
}

/**
 * Retries shards that could not be reached at boot, until each is reachable and passes every check
 * of the boot. Until then its tenants are refused, so no statement runs on an unchecked shard.
 */
export class LateShards {
  readonly #settings: LateShardSettings
  readonly #problems = new Map<string, Error>()
  readonly #timers = new Map<string, NodeJS.Timeout>()
  #isEnded = false

  constructor (settings: LateShardSettings) {
    this.#settings = settings
  }

  /** Names of the shards that are not served. */
  get names (): readonly string[] {
    return [...this.#problems.keys()]
  }

  /** Tries a shard again later. */
  add (name: string, shard: Shard, problem: Error): void {
    if (this.#isEnded) return
    if (this.#problems.get(name)?.message !== problem.message && this.#problems.has(name))
      this.#settings.onShard(name, problem)
    this.#problems.set(name, problem)
    const wait = problem instanceof SetupInvalidError ? refusedRetryMs : unreachableRetryMs
    this.#timers.set(name, setTimeout(() => void this.#try(name, shard), wait).unref())
  }

  /**
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE if the shard is not served; its cause is the reason
   */
  assertServed (name: string): void {
    const problem = this.#problems.get(name)
    if (problem !== undefined) throw new DatabaseUnavailableError(undefined, { cause: problem })
  }

  end (): void {
    this.#isEnded = true
    for (const timer of this.#timers.values()) clearTimeout(timer)
  }

  async #try (name: string, shard: Shard): Promise<void> {
    try {
      const report = await shard.boot()
      this.#settings.check(report)
      if (this.#isEnded) return
      this.#problems.delete(name)
      this.#settings.onShard(name, undefined)
    } catch (error) {
      this.add(name, shard, bootProblem(name, shard, error))
    }
  }
}

/**
 * Returns a boot error that names shard, login, host and database, unless the error names them
 * already.
 */
export function bootProblem (name: string, shard: Shard, error: unknown): Error {
  if (error instanceof SetupInvalidError) {
    return name === 'default'
      ? error
      : new SetupInvalidError(`shard '${name}': ${error.message}`, { cause: error })
  }
  const isForeign = !isUnreachable(error) && !/^(?:28|3D000|42501)/.test(sqlState(error) ?? '')
  if (isForeign) return error instanceof Error ? error : new Error(String(error))
  const url = shard.urlOf(error)
  if (url === undefined)
    return new DatabaseUnavailableError(`shard '${name}' cannot be reached`, { cause: error })
  return connectError(error, { url, shard: name })
}

/**
 * Whether an error of a shard's boot means that its server is unreachable, as opposed to set up
 * wrongly.
 */
export function isUnreachable (error: unknown): boolean {
  if (error instanceof DatabaseUnavailableError || error instanceof DatabaseBusyError) return true
  if (!(error instanceof Error) || error instanceof SetupInvalidError || error instanceof TypeError)
    return false
  const state = sqlState(error)
  if (state === undefined || !/^[0-9A-Z]{5}$/.test(state)) {
    // Network errors have a code such as ECONNREFUSED, and the driver's own errors have none.
    return error instanceof AggregateError || state === undefined || /^E[A-Z_]+$/.test(state)
  }
  return /^(?:08|53|57P)/.test(state)
}
