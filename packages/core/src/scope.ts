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
 * One unit of work for one tenant: a request, or a run outside a request. Every handle (`db`,
 * `cache`) belongs to a scope and closes with it. So a handle kept in a closure cannot be used
 * after its request has ended.
 */
export class TenantScope {
  readonly tenant: Tenant
  readonly log: ScopeLogger
  /**
   * The transaction of all work in this scope; undefined if each statement is its own transaction.
   */
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
   * @param onListen called once, when {@link signal} is first read, because only then the tenant
   * must be watched
   * @param held contains this scope from its first {@link hold} to its end
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

  /**
   * Aborted when the work should stop, because the client left or the tenant was suspended, deleted
   * or moved.
   */
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

  /** Whether the work was aborted instead of ended. */
  get isAborted (): boolean {
    return this.#controller?.signal.aborted ?? false
  }

  /**
   * Throws after the end of the scope.
   *
   * @throws FST_TENANCY_SCOPE_CLOSED after the end of the scope.
   */
  assertOpen (): void {
    if (this.#isClosed) throw new ScopeClosedError()
  }

  /** Returns the handle of `key`, and creates it at its first use. */
  handle<T> (key: symbol, make: (scope: TenantScope) => T): T {
    this.#handles ??= new Map()
    if (!this.#handles.has(key)) this.#handles.set(key, make(this))
    return this.#handles.get(key) as T
  }

  /**
   * Calls `closer` once at the end of the scope, or at once if the scope has ended. A closer must
   * not throw.
   */
  onClose (closer: () => void): void {
    if (this.#isClosed) closer()
    else (this.#closers ??= []).push(closer)
  }

  /**
   * Keeps the scope open until `promise` has settled, also after the end of its request. Logs its
   * failure.
   */
  waitUntil (promise: Promise<unknown>): void {
    const fail = (error: unknown): void => {
      // A failure of aborted work is expected, so it is logged as info.
      this.log[this.isAborted ? 'info' : 'error']({ err: error }, 'work prolonged with waitUntil() failed')
    }
    if (this.#isClosed) {
      // The caller gets an error and drops the promise. Handle its rejection, which would otherwise
      // end the process.
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

  /** Ends the scope at once and aborts its signal, so that running work stops. */
  abort (reason?: unknown): void {
    if (this.#isClosed) return
    this.#controller ??= new AbortController()
    this.#controller.abort(reason)
    this.#close()
  }

  /** Counts a checked-out connection. {@link retire} waits for it. */
  enter (): void {
    this.#busy++
  }

  /** Uncounts a returned connection. */
  leave (): void {
    this.#busy--
    if (this.#isRetired && this.#busy === 0) this.#close()
  }

  /** Aborts the signal at once, and ends the scope when no statement or transaction is running. */
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

/** Runs `fn` with `scope` as the current scope, including everything that it awaits. */
export function runInScope<T> (scope: TenantScope, fn: () => T): T {
  return storage.run(scope, fn)
}

/** Returns the scope of the current request or run, or undefined outside of both. */
export function currentScope (): TenantScope | undefined {
  return storage.getStore()
}

/** Returns the tenant of the current request or run, or undefined outside of both. */
export function currentTenant (): Tenant | undefined {
  return storage.getStore()?.tenant
}

/** The type of a handle that a plugin adds to {@link TenantWork}. */
export type HandleOf<Name extends string> = TenantWork extends { readonly [Key in Name]: infer Handle } ?
  Handle
  : unknown

/** Functions that need the connection and the application of a request. */
export interface RequestHandles {
  /** Makes the scope end with the connection instead of the reply. */
  detach(scope: TenantScope): TenantWork
  /** Returns the scope's pool of `pg`, or undefined if no database is registered. */
  pg(scope: TenantScope, route: ResolvedRouteTenancy): unknown
}

/** The suite's state of one request: `request.tenancy`. */
export class RequestTenancy {
  /** The route's `config.tenancy`, with defaults. */
  readonly route: ResolvedRouteTenancy
  /** Undefined if the route is `'off'` or no tenant was found, and before the look-up. */
  scope: TenantScope | undefined
  /** The name of the strategy that found the tenant. */
  source: string | undefined
  /**
   * Why this request will be refused. Stored instead of thrown, so that the limiter still counts
   * the request.
   */
  refusal: Error | undefined
  /**
   * Whether the request's claim seems to name the host's tenant, before authentication. Set if
   * claims are used. A request that is refused before its claim is checked must not reveal anything
   * about the tenant.
   */
  seemsToAgree: (() => boolean) | undefined
  /** Undefined if there is no connection. */
  readonly handles: RequestHandles | undefined

  constructor (route: ResolvedRouteTenancy, handles?: RequestHandles) {
    this.route = route
    this.handles = handles
  }

  /**
   * Returns the open or ended scope of this request.
   *
   * @throws the refusal of the request if there is one, else FST_TENANCY_CONTEXT_MISSING if there
   * is no tenant.
   */
  requireScope (): TenantScope {
    if (this.refusal !== undefined) throw this.refusal
    if (this.scope === undefined) throw new ContextMissingError()
    return this.scope
  }

  /** Aborted when the client left, or the tenant was suspended, deleted or moved. */
  get signal (): AbortSignal {
    return this.requireScope().signal
  }

  /**
   * A pool of `pg` for this request's tenant, for Drizzle, Knex, Prisma's adapter or plain SQL. It
   * follows the rules of `request.db` and ends with the request.
   *
   * @throws FST_TENANCY_CONTEXT_MISSING if the route is off, there is no tenant, or no database is
   * registered
   */
  get pg (): HandleOf<'pg'> {
    const scope = this.requireScope()
    scope.assertOpen()
    const pool = this.handles?.pg(scope, this.route)
    if (pool === undefined)
      throw new ContextMissingError(
        'This application has no tenant database: register fastify-tenancy or @fastify-tenancy/database'
      )
    return pool as HandleOf<'pg'>
  }

  /**
   * Makes the request's transaction roll back at its end, whatever the reply.
   *
   * @throws FST_TENANCY_CONTEXT_MISSING if the route has no `config.tenancy.transaction`
   */
  rollbackOnly (): void {
    const { transaction } = this.requireScope()
    if (transaction === undefined)
      throw new ContextMissingError(
        'This request is not one transaction: set config.tenancy.transaction of its route'
      )
    transaction.rollbackOnly()
  }

  /** Keeps `request.db` and `request.cache` open after the reply, until `promise` has settled. */
  waitUntil (promise: Promise<unknown>): void {
    // Without a tenant this method throws, so handle the rejection of the promise as an ended scope
    // does.
    if (this.refusal !== undefined || this.scope === undefined) promise.catch(() => {})
    this.requireScope().waitUntil(promise)
  }

  /**
   * Keeps `request.db` and `request.cache` open until the connection closes, for websockets and
   * server-sent events, and returns these handles. For a request that is one transaction it returns
   * new handles outside the transaction.
   *
   * When the tenant is suspended, deleted or moved, the handles close, `signal` is aborted, and a
   * connection with an incomplete reply is closed.
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
 * The handles of work outside a request's handler: `app.tenancy.run()`, `request.tenancy.detach()`.
 * Plugins add `db` and `cache` by augmentation.
 */
export interface TenantWork {
  readonly tenant: Tenant
  /** A logger whose lines carry the tenant's id. */
  readonly log: ScopeLogger
  /**
   * Aborted when the work should stop, because the tenant was suspended, deleted or moved, or the
   * caller left.
   */
  readonly signal: AbortSignal
}
