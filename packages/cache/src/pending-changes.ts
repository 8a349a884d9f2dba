import type { TenantScope } from '@fastify-tenancy/core'
import { isReply, judge, RedisUnavailableError } from '@fastify-tenancy/redis'

/**
 * The changes of one handle that wait for the commit of its transaction, because other requests
 * must not see data that may be rolled back. Until then a changed key reads as a miss, so the
 * request never reads its outdated value.
 */
export class PendingChanges {
  readonly #scope: TenantScope
  readonly #keys = new Set<string>()
  #isAll = false

  constructor (scope: TenantScope) {
    this.#scope = scope
  }

  /** Whether a change of this key is waiting. */
  has (key: string): boolean {
    return (this.#isAll || this.#keys.has(key)) && this.#scope.transaction?.isOpen === true
  }

  /**
   * Makes a change, now or after the commit, and never after a rollback.
   *
   * @param keys the changed keys.
   * @param meanwhile the result of a change that waits.
   */
  async make<T> (keys: readonly string[] | 'all', change: () => Promise<T>, meanwhile: T): Promise<T> {
    const { transaction, log } = this.#scope
    if (transaction?.isOpen !== true) return change()
    if (keys === 'all') this.#isAll = true
    else for (const key of keys) this.#keys.add(key)
    // A failed change must not prevent the next one. The store logs an outage or a refusal once.
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
