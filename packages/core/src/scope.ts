import { AsyncLocalStorage } from 'node:async_hooks'

import { ContextMissingError, ScopeClosedError } from './errors.ts'
import type { ResolvedRouteTenancy } from './route.ts'
import type { ScopeTransaction } from './scope-transaction.ts'
import type { Tenant } from './tenant.ts'

/** The part of a pino logger that the suite uses. */
export interface ScopeLogger {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/**
 * One piece of work for one tenant: a request, or a run outside one. Every handle (`db`, `cache`) belongs to a scope
 * and dies with it, so that a handle kept in a closure cannot be used for a tenant whose request has ended.
 */
export class TenantScope {
  readonly tenant: Tenant
  readonly log: ScopeLogger
  /** The transaction that all of the scope's work is part of; undefined where each statement is one of its own. */
  transaction: ScopeTransaction | undefined
  #controller: AbortController | undefined
  #handles: Map<symbol, unknown> | undefined
  #closers: (() => void)[] | undefined
  #holds = 0
  #busy = 0
  #isRetired = false
  #isEnding = false
  #isClosed = false

  readonly #onListen: ((scope: TenantScope) => void) | undefined
  readonly #held: Set<TenantScope> | undefined

  /**
   * @param onListen called once, when {@link signal} is first read: only then need the tenant be watched
   * @param held has this scope from its first {@link hold} to its end
   */
  constructor (
    tenant: Tenant,
    log: ScopeLogger,
    onListen?: (scope: TenantScope) => void,
    held?: Set<TenantScope>
  ) {
    this.tenant = tenant
    this.log = log
    this.#onListen = onListen
    this.#held = held
  }

  /** Aborted when the work should stop: the client has gone, or the tenant was suspended, deleted or moved. */
  get signal (): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      this.#onListen?.(this)
    }
    return this.#controller.signal
  }

  get isClosed (): boolean {
    return this.#isClosed
  }

  /** Whether the work was cut short, rather than ended. */
  get isAborted (): boolean {
    return this.#controller?.signal.aborted ?? false
  }

  /** @throws FST_TENANCY_SCOPE_CLOSED after the end of the scope. */
  assertOpen (): void {
    if (this.#isClosed) throw new ScopeClosedError()
  }

  /** The handle kept under `key`, made at its first use. */
  handle<T> (key: symbol, make: (scope: TenantScope) => T): T {
    this.#handles ??= new Map()
    if (!this.#handles.has(key)) this.#handles.set(key, make(this))
    return this.#handles.get(key) as T
  }

  /** Has `closer` called once, at the end of the scope; at once when it has ended. A closer must not throw. */
  onClose (closer: () => void): void {
    if (this.#isClosed) closer()
    else (this.#closers ??= []).push(closer)
  }

  /** Keeps the scope open until `promise` has settled, past the end of its request. Its failure is logged. */
  waitUntil (promise: Promise<unknown>): void {
    const fail = (error: unknown): void => {
      // What was cut short fails, and is no failure of its own.
      this.log[this.isAborted ? 'info' : 'error']({ err: error }, 'work prolonged with waitUntil() failed')
    }
    if (this.#isClosed) {
      // The caller gets an error and drops the promise, whose own failure would end the process.
      promise.catch(fail)
      throw new ScopeClosedError()
    }
    const release = this.hold()
    promise.then(release, (error: unknown) => {
      fail(error)
      release()
    })
  }

  /** Keeps the scope open until the returned function is called. */
  hold (): () => void {
    this.#holds++
    if (!this.#isClosed) this.#held?.add(this)
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#holds--
      if (this.#isEnding) this.end()
    }
  }

  /** Ends the scope as soon as nothing holds it open. */
  end (): void {
    this.#isEnding = true
    if (this.#holds === 0) this.#close()
  }

  /** Ends the scope at once and aborts its signal: what is under way is to stop. */
  abort (reason?: unknown): void {
    if (this.#isClosed) return
    this.#controller ??= new AbortController()
    this.#controller.abort(reason)
    this.#close()
  }

  /** Counts a connection that is borrowed: {@link retire} waits for it. */
  enter (): void {
    this.#busy++
  }

  /** A connection that was counted is back. */
  leave (): void {
    this.#busy--
    if (this.#isRetired && this.#busy === 0) this.#close()
  }

  /** Aborts the signal at once, and ends the scope when no statement or transaction is under way. */
  retire (reason: unknown): void {
    if (this.#isClosed) return
    this.#isRetired = true
    this.#controller ??= new AbortController()
    this.#controller.abort(reason)
    if (this.#busy === 0) this.#close()
  }

  #close (): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#held?.delete(this)
    for (const closer of this.#closers ?? []) closer()
    this.#closers = undefined
    this.#handles = undefined
  }
}

const storage = new AsyncLocalStorage<TenantScope>()

/** Runs `fn` with `scope` as the current one, over all that it awaits. */
export function runInScope<T> (scope: TenantScope, fn: () => T): T {
  return storage.run(scope, fn)
}

/** The scope of the request or run that this code is part of; undefined outside one. */
export function currentScope (): TenantScope | undefined {
  return storage.getStore()
}

/** The tenant of the request or run that this code is part of; undefined outside one. */
export function currentTenant (): Tenant | undefined {
  return storage.getStore()?.tenant
}

/** The type of a handle that a plugin adds to {@link TenantWork}. */
export type HandleOf<Name extends string> = TenantWork extends { readonly [Key in Name]: infer Handle } ?
  Handle
  : unknown

/** What the connection and the application of a request make for its scope. */
export interface RequestHandles {
  /** Has the scope end with the connection instead of the reply. */
  detach(scope: TenantScope): TenantWork
  /** The scope's pool of `pg`; undefined where no database is registered. */
  pg(scope: TenantScope, route: ResolvedRouteTenancy): unknown
}

/** What the suite knows of one request: `request.tenancy`. */
export class RequestTenancy {
  /** The route's `config.tenancy`, with defaults. */
  readonly route: ResolvedRouteTenancy
  /** Undefined where the route is `'off'`, where no tenant was found, and before one was looked up. */
  scope: TenantScope | undefined
  /** The name of the strategy that found the tenant. */
  source: string | undefined
  /** Why this request will be refused. Stored instead of thrown, so that the limiter still counts the request. */
  refusal: Error | undefined
  /**
   * Whether the request's claim names the tenant of its host, as far as can be told before authentication. Set where claims are read.
   * A request that is refused before its claim is checked must learn nothing of the tenant.
   */
  seemsToAgree: (() => boolean) | undefined
  /** Undefined where there is no connection. */
  readonly handles: RequestHandles | undefined

  constructor (route: ResolvedRouteTenancy, handles?: RequestHandles) {
    this.route = route
    this.handles = handles
  }

  /**
   * The open or ended scope of this request.
   *
   * @throws the refusal of the request, where there is one, and else FST_TENANCY_CONTEXT_MISSING where there is no tenant.
   */
  requireScope (): TenantScope {
    if (this.refusal !== undefined) throw this.refusal
    if (this.scope === undefined) throw new ContextMissingError()
    return this.scope
  }

  /** Aborted when the client has gone, or the tenant was suspended, deleted or moved. */
  get signal (): AbortSignal {
    return this.requireScope().signal
  }

  /**
   * A pool of `pg` that speaks for this request's tenant, for Drizzle, Knex, Prisma's adapter or plain SQL. It keeps to the rules of
   * `request.db`, and ends with the request.
   *
   * @throws FST_TENANCY_CONTEXT_MISSING where the route is off, there is no tenant, or no database is registered
   */
  get pg (): HandleOf<'pg'> {
    const scope = this.requireScope()
    scope.assertOpen()
    const pool = this.handles?.pg(scope, this.route)
    if (pool === undefined) throw new ContextMissingError('This application has no database of tenants')
    return pool as HandleOf<'pg'>
  }

  /**
   * Has the request's transaction rolled back at its end, whatever the reply.
   *
   * @throws FST_TENANCY_CONTEXT_MISSING where the route has no `config.tenancy.transaction`
   */
  rollbackOnly (): void {
    const { transaction } = this.requireScope()
    if (transaction === undefined)
      throw new ContextMissingError(
        'This request is not one transaction: give its route config.tenancy.transaction'
      )
    transaction.rollbackOnly()
  }

  /** Keeps `request.db` and `request.cache` open past the reply, until `promise` has settled. */
  waitUntil (promise: Promise<unknown>): void {
    // As in a scope that has ended: without a tenant nothing waits for the promise.
    if (this.refusal !== undefined || this.scope === undefined) promise.catch(() => {})
    this.requireScope().waitUntil(promise)
  }

  /**
   * Keeps `request.db` and `request.cache` open for as long as the connection lasts, for websockets and server-sent events,
   * and returns the same handles. When the tenant is suspended, deleted or moved they are closed, `signal` is aborted,
   * and a connection whose reply has not been completed is ended. Of a request that is one transaction the handles
   * are new ones, which are no part of it.
   */
  detach (): TenantWork {
    const scope = this.requireScope()
    scope.assertOpen()
    if (this.handles === undefined)
      throw new ContextMissingError('This request has no connection to outlive its reply')
    return this.handles.detach(scope)
  }
}

/**
 * What work outside a request's handler gets: `app.tenancy.run()`, `request.tenancy.detach()`.
 * The plugins add their handles by augmentation: `db`, `cache`.
 */
export interface TenantWork {
  readonly tenant: Tenant
  /** Its lines carry the tenant's id. */
  readonly log: ScopeLogger
  /** Aborted when the work should stop: the tenant was suspended, deleted or moved, or whoever waits for it has gone. */
  readonly signal: AbortSignal
}
