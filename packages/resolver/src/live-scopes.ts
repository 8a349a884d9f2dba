import { TenantNotReadyError, TenantSuspendedError, TenantUnknownError, type TenantRecord, type TenantScope } from '@fastify-tenancy/core'

/**
 * Scopes whose signal somebody listens to: long requests, streams, websockets. They are aborted when their tenant is
 * suspended, deleted or moved: at once when the change is heard of, and otherwise within `interval`.
 */
export class LiveScopes {
  readonly #scopes = new Map<string, Set<TenantScope>>()
  readonly #find: (id: string) => Promise<TenantRecord | undefined>
  readonly #interval: number
  #timer: NodeJS.Timeout | undefined

  constructor (find: (id: string) => Promise<TenantRecord | undefined>, interval: number) {
    this.#find = find
    this.#interval = interval
  }

  readonly add = (scope: TenantScope): void => {
    const { id } = scope.tenant
    const scopes = this.#scopes.get(id) ?? new Set()
    this.#scopes.set(id, scopes.add(scope))
    this.#timer ??= setInterval(() => { this.review() }, this.#interval).unref()
    scope.onClose(() => {
      scopes.delete(scope)
      if (scopes.size > 0) return
      this.#scopes.delete(id)
      if (this.#scopes.size === 0) this.stop()
    })
  }

  /** Looks at one tenant again, or at all. */
  readonly review = (id?: string): void => {
    for (const each of id === undefined ? this.#scopes.keys() : [id]) {
      // A registry that is down is no reason to end what is under way.
      if (this.#scopes.has(each)) this.#end(each).catch(() => {})
    }
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  async #end (id: string): Promise<void> {
    const current = await this.#find(id)
    for (const scope of this.#scopes.get(id) ?? []) {
      const reason = reasonToEnd(scope, current)
      if (reason !== undefined) scope.abort(reason)
    }
  }
}

function reasonToEnd ({ tenant }: TenantScope, current: TenantRecord | undefined): Error | undefined {
  if (current === undefined) return new TenantUnknownError()
  if (current.status !== tenant.status) {
    if (current.status === 'suspended') return new TenantSuspendedError()
    if (current.status !== 'active') return new TenantUnknownError()
  }
  const { shard, schema, database } = current.placement
  const isMoved = current.isolation !== tenant.isolation || shard !== tenant.placement.shard ||
    schema !== tenant.placement.schema || database !== tenant.placement.database
  return isMoved ? new TenantNotReadyError() : undefined
}
