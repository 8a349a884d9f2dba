import { SetupInvalidError, DatabaseUnavailableError } from '@fastify-tenancy/postgres'
import { connectError, sqlState } from '@fastify-tenancy/postgres/client'
import type { LevelReport } from '@fastify-tenancy/postgres/doctor'

import { DatabaseBusyError } from '../options/errors.ts'
import type { Shard } from './shard.ts'

/** Milliseconds until a shard that did not answer is tried again. */
const unreachableRetryMs = 1_000

/** Milliseconds until a shard that answers and was refused is checked again: its checks read the whole catalog. */
const refusedRetryMs = 30_000

/** What {@link LateShards} calls. */
export interface LateShardSettings {
  /** Throws where the application may not be served from a shard with this report. */
  readonly check: (report: LevelReport) => void
  /** Called when a shard is served from now on, and when the reason why it is not has changed. */
  readonly onShard: (shard: string, problem: Error | undefined) => void
}

/**
 * Shards that could not be reached when the application booted. Each is tried again until it answers and passes every check
 * of the boot. Until then its tenants are refused, so that no statement of theirs meets a shard that was not checked.
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

  /** @throws FST_TENANCY_DATABASE_UNAVAILABLE with the reason as its cause, where the shard is not served */
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

/** Names shard, login, host and database in an error of a shard's boot that does not name them itself. */
export function bootProblem (name: string, shard: Shard, error: unknown): Error {
  if (error instanceof SetupInvalidError) {
    return name === 'default'
      ? error
      : new SetupInvalidError(`shard '${name}': ${error.message}`, { cause: error })
  }
  const isForeign = !isUnreachable(error) && !/^(?:28|3D000|42501)/.test(sqlState(error) ?? '')
  if (isForeign) return error instanceof Error ? error : new Error(String(error))
  const url = shard.url
  if (url === undefined)
    return new DatabaseUnavailableError(`shard '${name}' cannot be reached`, { cause: error })
  return connectError(error, { url, shard: name })
}

/** Whether an error of a shard's boot says that its server is away, and nothing about how it is set up. */
export function isUnreachable (error: unknown): boolean {
  if (error instanceof DatabaseUnavailableError || error instanceof DatabaseBusyError) return true
  if (!(error instanceof Error) || error instanceof SetupInvalidError || error instanceof TypeError)
    return false
  const state = sqlState(error)
  if (state === undefined || !/^[0-9A-Z]{5}$/.test(state)) {
    // Errors of the network have a code such as ECONNREFUSED, and those of the driver have none.
    return error instanceof AggregateError || state === undefined || /^E[A-Z_]+$/.test(state)
  }
  return /^(?:08|53|57P)/.test(state)
}
