import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'

const maxFailures = 3

/** Milliseconds without attempts after {@link maxFailures} failures in a row. */
const pause = 1_000

/**
 * Fails connection attempts to a dead database at once, instead of after one connect timeout each.
 */
export class ConnectBreaker {
  #failures = 0
  #openUntil = 0

  /**
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE while the breaker is open. After each pause one
   * attempt passes; the others fail until it has succeeded
   */
  assertClosed (now: number = performance.now()): void {
    if (this.#failures < maxFailures) return
    if (now < this.#openUntil) throw new DatabaseUnavailableError()
    this.#openUntil = now + pause
  }

  succeeded (): void {
    this.#failures = 0
  }

  failed (now: number = performance.now()): void {
    this.#failures++
    this.#openUntil = now + pause
  }
}
