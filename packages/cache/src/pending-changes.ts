import type { TenantScope } from '@fastify-tenancy/core'
import { isReply, judge, RedisUnavailableError } from '@fastify-tenancy/redis'

/**
 * The changes of one handle that wait for the commit, where its scope is one transaction: others must not see
 * what may yet be rolled back. Until then what was changed reads as a miss here, so that the request never meets its own past.
 */
export class PendingChanges {
  readonly #scope: TenantScope
  readonly #keys = new Set<string>()
  #isAll = false

  constructor (scope: TenantScope) {
    this.#scope = scope
  }

  /** Whether a change of this key waits. */
  has (key: string): boolean {
    return (this.#isAll || this.#keys.has(key)) && this.#scope.transaction?.isOpen === true
  }

  /**
   * Makes a change, or has it wait; never made after a rollback.
   *
   * @param keys what it changes.
   * @param meanwhile what a caller is told of a change that waits.
   */
  async make<T> (keys: readonly string[] | 'all', change: () => Promise<T>, meanwhile: T): Promise<T> {
    const { transaction, log } = this.#scope
    if (transaction?.isOpen !== true) return change()
    if (keys === 'all') this.#isAll = true
    else for (const key of keys) this.#keys.add(key)
    // One that fails must not keep the next from being made. An outage or a refusal is logged by the store, once.
    transaction.afterCommit(() =>
      change().catch((error: unknown) => {
        const reply = error instanceof RedisUnavailableError ? error.cause : undefined
        if (!(error instanceof RedisUnavailableError) || (isReply(reply) && judge(reply) === 'mistake'))
          log.error({ err: error }, 'a change of the cache that waited for a commit failed')
      })
    )
    return meanwhile
  }
}
