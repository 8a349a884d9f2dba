import { InternalError, tenantWork, TenantScope, type HandleMaker, type RequestHandles,
  type ResolvedRouteTenancy, type TenantWork } from '@fastify-tenancy/core'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Socket } from 'node:net'

import type { TenantResolver } from './resolver.ts'

/** What other plugins put on the app, where they are registered. */
interface Neighbours {
  readonly tenantDatabase?: HandleMaker & {
    readonly pg: { forScope(scope: TenantScope, route?: ResolvedRouteTenancy): unknown }
  }
  readonly tenantCache?: HandleMaker
}

/** Where a detached scope ends: a socket, or the response where the socket is not the request's alone. */
type Connection = Socket | FastifyReply['raw']

const workKey = Symbol('tenancy.detached')

/** Scopes that outlive their replies and end with their connections: websockets, server-sent events. */
export class DetachedScopes {
  readonly #watch: TenantResolver['watch']
  readonly #held: Set<TenantScope>
  readonly #onConnection = new Map<Connection, Set<TenantScope>>()

  /**
   * @param watch has a scope aborted when its tenant is suspended, deleted or moved
   * @param held has every scope that outlives its reply
   */
  constructor (watch: TenantResolver['watch'], held: Set<TenantScope>) {
    this.#watch = watch
    this.#held = held
  }

  /** Prolongs a request's scope; the same handles at each call. */
  detach (request: FastifyRequest, reply: FastifyReply, scope: TenantScope): TenantWork {
    return scope.handle(workKey, () => {
      // A transaction ends with its reply.
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
   * Ends them all, so that their connections do not keep the application from closing. Their signals are aborted at once;
   * a statement or transaction that is under way is finished first.
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
      // A reply that is complete is no longer ours: its connection may carry the next request, for another tenant.
      // Later, so that what listens to the signal can send a last message.
      if (!reply.raw.writableFinished) setImmediate(() => endConnection(connection))
    })
    if (connection.destroyed) scope.abort(gone())
  }

  // One listener a connection, however many requests on it were detached.
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

/** What one request's connection and application make for its scope. */
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

// On HTTP/2 a socket carries many requests, and in app.inject() there is none: there the response is what ends.
function connectionOf ({ raw }: FastifyRequest, reply: FastifyReply): Connection {
  return raw.httpVersionMajor === 1 && raw.socket instanceof Socket ? raw.socket : reply.raw
}

function endConnection (connection: Connection): void {
  // What was written goes out first.
  if (connection instanceof Socket) connection.destroySoon()
  else connection.destroy()
}

function gone (): Error {
  return new InternalError('the client has gone')
}
