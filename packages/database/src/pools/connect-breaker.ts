import { DatabaseUnavailableError } from '@fastify-tenancy/postgres'

const maxFailures = 3

/** How long nobody tries again after {@link maxFailures} in a row, in milliseconds. */
const pause = 1_000

/**
 * Has those who ask a dead database for a connection fail at once, instead of one connect timeout
 * after the other.
 */
export class ConnectBreaker {
  #failures = 0
  #openUntil = 0

  /**
   * @throws FST_TENANCY_DATABASE_UNAVAILABLE while it is open. After the pause one attempt goes
   * through, and the rest wait for how that one ends.
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
