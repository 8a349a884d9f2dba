import type { RequestHandles, ResolvedRouteTenancy, TenantWork } from '@fastify-tenancy/core'
import { InternalError } from '@fastify-tenancy/core/errors'
import { tenantWork, TenantScope, type HandleMaker } from '@fastify-tenancy/core/scope'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Socket } from 'node:net'

import type { TenantResolver } from './resolver.ts'

/** The decorators of other plugins of the suite, if they are registered. */
interface Neighbours {
  readonly tenantDatabase?: HandleMaker & {
    readonly pg: { forScope(scope: TenantScope, route?: ResolvedRouteTenancy): unknown }
  }
  readonly tenantCache?: HandleMaker
}

/**
 * The object whose end ends a detached scope: a socket, or the response if the socket carries other
 * requests too.
 */
type Connection = Socket | FastifyReply['raw']

const workKey = Symbol('tenancy.detached')

/**
 * Scopes that outlive their replies and end with their connections, for websockets and server-sent
 * events.
 */
export class DetachedScopes {
  readonly #watch: TenantResolver['watch']
  readonly #held: Set<TenantScope>
  readonly #onConnection = new Map<Connection, Set<TenantScope>>()

  /**
   * @param watch aborts a scope when its tenant is suspended, deleted or moved
   * @param held collects every scope that outlives its reply
   */
  constructor (watch: TenantResolver['watch'], held: Set<TenantScope>) {
    this.#watch = watch
    this.#held = held
  }

  /** Prolongs a request's scope. Repeated calls return the same handles. */
  detach (request: FastifyRequest, reply: FastifyReply, scope: TenantScope): TenantWork {
    return scope.handle(workKey, () => {
      // A transaction ends with its reply, so a detached handler gets a scope without it.
      const detached = scope.transaction === undefined
        ? scope
        : new TenantScope(
          scope.tenant,
          scope.log,
          own => this.#watch(own, request.tenancy.route.statuses),
          this.#held
        )
      const { tenantDatabase, tenantCache } = request.server as Neighbours
      const work = tenantWork(detached, {
        db: tenantDatabase,
        pg: tenantDatabase?.pg,
        cache: tenantCache
      })
      this.#prolong(detached, connectionOf(request, reply), reply)
      return work
    })
  }

  /**
   * Ends all detached scopes, so that their connections do not keep the application from closing.
   * Aborts their signals at once. A running statement or transaction is finished first.
   */
  end (): void {
    for (const scopes of this.#onConnection.values()) {
      for (const scope of scopes) scope.retire(new InternalError('the application is closing'))
    }
  }

  #prolong (scope: TenantScope, connection: Connection, reply: FastifyReply): void {
    scope.hold()
    const scopes = this.#scopesOn(connection).add(scope)
    scope.onClose(() => {
      scopes.delete(scope)
      // A complete reply is no longer ours, because its connection may carry the next request, for
      // another tenant. `setImmediate` lets listeners of the signal send a last message first.
      if (!reply.raw.writableFinished) setImmediate(() => endConnection(connection))
    })
    if (connection.destroyed) scope.abort(gone())
  }

  // Registers one listener per connection, even if many requests on it were detached.
  #scopesOn (connection: Connection): Set<TenantScope> {
    const known = this.#onConnection.get(connection)
    if (known !== undefined) return known
    const scopes = new Set<TenantScope>()
    this.#onConnection.set(connection, scopes)
    connection.once('close', () => {
      this.#onConnection.delete(connection)
      for (const scope of scopes) scope.abort(gone())
    })
    return scopes
  }
}

/** Creates the handles of one request for its scope, from its connection and application. */
export class HandlesOf implements RequestHandles {
  readonly #detached: DetachedScopes
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply

  constructor (detached: DetachedScopes, request: FastifyRequest, reply: FastifyReply) {
    this.#detached = detached
    this.#request = request
    this.#reply = reply
  }

  detach (scope: TenantScope): TenantWork {
    return this.#detached.detach(this.#request, this.#reply, scope)
  }

  pg (scope: TenantScope, route: ResolvedRouteTenancy): unknown {
    return (this.#request.server as Neighbours).tenantDatabase?.pg.forScope(scope, route)
  }
}

// Returns the response on HTTP/2, where a socket carries many requests, and in `app.inject()`,
// which has no socket.
function connectionOf ({ raw }: FastifyRequest, reply: FastifyReply): Connection {
  return raw.httpVersionMajor === 1 && raw.socket instanceof Socket ? raw.socket : reply.raw
}

function endConnection (connection: Connection): void {
  // Sends pending writes before it closes the socket.
  if (connection instanceof Socket) connection.destroySoon()
  else connection.destroy()
}

function gone (): Error {
  return new InternalError('the client has gone')
}
