import type { FastifyInstance, FastifyReply } from 'fastify'

import { resolvedModeOf } from './routes.ts'

/**
 * Adds the tenant's header to `Vary` of each reply whose route reads it, because a shared cache
 * must not serve one tenant's reply to another. A route's own hooks run after plugin hooks, which
 * may set `Vary` themselves.
 */
export function addVary (app: FastifyInstance, header: string): void {
  app.addHook('onRoute', route => {
    if (resolvedModeOf(route) === 'off') return
    route.onSend = [route.onSend ?? [], (
      _request: unknown,
      reply: FastifyReply,
      payload: unknown,
      done: (error: null, payload: unknown) => void
    ) => {
      add(reply, header)
      done(null, payload)
    }].flat() as NonNullable<typeof route.onSend>
  })
  // A URL that matches no route has no route hooks.
  app.addHook('onSend', (request, reply, payload, done) => {
    if (request.is404) add(reply, header)
    done(null, payload)
  })
}

function add (reply: FastifyReply, header: string): void {
  const before = [reply.getHeader('vary') ?? []].flat().join(', ')
  const names = before.toLowerCase().split(',').map(name => name.trim())
  if (names.includes('*') || names.includes(header)) return
  void reply.header('vary', before === '' ? header : `${before}, ${header}`)
}
