import type { ScopeLogger, Tenant, TenantStatus, TenantWork } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import { runInScope, tenantWork, TenantScope, type HandleMaker } from '@fastify-tenancy/core/scope'
import type { DatabaseRuntime } from '@fastify-tenancy/database'

/** A logger with child loggers, like those of pino and Fastify. */
export interface TenancyLogger extends ScopeLogger {
  child(bindings: { readonly tenant: string }): ScopeLogger
}

/** What runs need. */
export interface RunParts {
  readonly database: DatabaseRuntime
  /** Undefined if the cache is off. */
  readonly cache: HandleMaker | undefined
  readonly log: TenancyLogger
  /**
   * Aborts a scope when its tenant is moved or its status is no longer allowed (suspended,
   * deleted).
   */
  readonly watch: (scope: TenantScope, allowed: readonly TenantStatus[]) => void
}

/** Settings of one run. */
interface RunSettings {
  /** Runs all of it in one transaction. */
  readonly transaction: boolean
  /** Statuses besides active in which the run may continue. */
  readonly allow: readonly TenantStatus[]
  /** Aborts the run. */
  readonly signal?: AbortSignal | undefined
}

/** The running work for tenants outside requests. */
export class Runs {
  readonly #parts: RunParts
  readonly #underWay = new Map<TenantScope, Promise<void>>()

  constructor (parts: RunParts) {
    this.#parts = parts
  }

  /**
   * Runs `fn` in a new scope, which ends when `fn` has settled and nothing holds it open. Aborted
   * work fails with the reason, such as FST_TENANCY_TENANT_SUSPENDED.
   */
  async run<T> (tenant: Tenant, fn: (work: TenantWork) => T | Promise<T>, settings: RunSettings): Promise<T> {
    const { log, watch } = this.#parts
    const { transaction, allow, signal } = settings
    signal?.throwIfAborted()
    const scope = new TenantScope(tenant, log.child({ tenant: tenant.id }), own => watch(own, allow))
    const abort = (): void => scope.abort(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    this.#underWay.set(
      scope,
      new Promise(resolve => {
        scope.onClose(() => {
          signal?.removeEventListener('abort', abort)
          this.#underWay.delete(scope)
          resolve()
        })
      })
    )
    return this.#runIn(scope, fn, transaction)
  }

  /**
   * Waits for running work, and then aborts it.
   *
   * @param timeout the longest wait, in milliseconds
   */
  async close (timeout: number): Promise<void> {
    if (this.#underWay.size === 0) return
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, timeout)
    await Promise.race([Promise.all(this.#underWay.values()), late])
    clearTimeout(timer)
    for (const scope of this.#underWay.keys()) scope.abort(new InternalError('the application is closing'))
  }

  async #runIn<T> (
    scope: TenantScope,
    fn: (work: TenantWork) => T | Promise<T>,
    isTransaction: boolean
  ): Promise<T> {
    const { database, cache } = this.#parts
    const unit = isTransaction ? database.unitOfWork(scope) : undefined
    try {
      const work = tenantWork(scope, { db: database, pg: database.pg, cache })
      const result = await runInScope(scope, () => fn(work))
      if (unit?.isOpen) await (unit.isRollbackOnly ? unit.rollback() : unit.commit())
      // Aborted work was rolled back, even if `fn` resolved.
      else if (unit !== undefined) throw scope.signal.reason
      return result
    } catch (error) {
      if (unit?.isOpen) await unit.rollback().catch(() => {})
      throw scope.isAborted ? scope.signal.reason : error
    } finally {
      scope.end()
    }
  }
}
