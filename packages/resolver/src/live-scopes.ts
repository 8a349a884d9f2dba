import { TenantNotReadyError, TenantUnknownError, type TenantRecord, type TenantScope,
  type TenantStatus } from '@fastify-tenancy/core'
import { statusRefusal } from '@fastify-tenancy/core/scope'

/**
 * Scopes whose signal has a listener: long requests, streams, websockets. Aborts them when their
 * tenant is suspended, deleted or moved. This happens at once if a change message arrives, and
 * otherwise within `interval`.
 */
export class LiveScopes {
  /**
   * By tenant id. The value holds the statuses besides active with which each scope was admitted.
   */
  readonly #scopes = new Map<string, Map<TenantScope, readonly TenantStatus[]>>()
  readonly #find: (id: string) => Promise<TenantRecord | undefined>
  readonly #interval: number
  #timer: NodeJS.Timeout | undefined

  constructor (find: (id: string) => Promise<TenantRecord | undefined>, interval: number) {
    this.#find = find
    this.#interval = interval
  }

  readonly add = (scope: TenantScope, allowed: readonly TenantStatus[] = []): void => {
    const { id } = scope.tenant
    const scopes = this.#scopes.get(id) ?? new Map<TenantScope, readonly TenantStatus[]>()
    this.#scopes.set(id, scopes.set(scope, allowed))
    this.#timer ??= setInterval(() => {
      this.review()
    }, this.#interval).unref()
    scope.onClose(() => {
      scopes.delete(scope)
      if (scopes.size > 0) return
      this.#scopes.delete(id)
      if (this.#scopes.size === 0) this.stop()
    })
  }

  /** Looks up one tenant again, or all tenants, and aborts their scopes if needed. */
  readonly review = (id?: string): void => {
    for (const each of id === undefined ? this.#scopes.keys() : [id]) {
      // A registry outage is no reason to end running work.
      if (this.#scopes.has(each)) this.#end(each).catch(() => {})
    }
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async #end (id: string): Promise<void> {
    const current = await this.#find(id)
    for (const [scope, allowed] of this.#scopes.get(id) ?? []) {
      const reason = reasonToEnd(scope, allowed, current)
      if (reason !== undefined) scope.abort(reason)
    }
  }
}

function reasonToEnd (
  { tenant }: TenantScope,
  allowed: readonly TenantStatus[],
  current: TenantRecord | undefined
): Error | undefined {
  if (current === undefined) return new TenantUnknownError()
  const refusal = statusRefusal(current.status, [...allowed, tenant.status])
  if (refusal !== undefined) return refusal
  const { shard, schema, database } = current.placement
  const isMoved = current.isolation !== tenant.isolation || shard !== tenant.placement.shard ||
    schema !== tenant.placement.schema || database !== tenant.placement.database
  return isMoved ? new TenantNotReadyError() : undefined
}
