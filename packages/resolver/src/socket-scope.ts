import type { TenantScope } from '@fastify-tenancy/core'
import { runInScope } from '@fastify-tenancy/core/scope'
import type { EventEmitter } from 'node:events'

const bound = new WeakSet<EventEmitter>()

/**
 * Runs every listener of a socket in `scope`. Node calls them in the context in which the socket
 * was accepted, so a handler of websocket messages would have no current tenant. Use it only for a
 * socket that belongs to one request.
 */
export function runEventsInScope (socket: EventEmitter, scope: TenantScope): void {
  if (bound.has(socket)) return
  bound.add(socket)
  const { emit } = socket
  socket.emit = (...args) => runInScope(scope, () => Reflect.apply(emit, socket, args))
}
