import { resolveRouteTenancy } from '@fastify-tenancy/core/scope'
import type { FastifyInstance, FastifyRequest } from 'fastify'

import type { DatabaseRuntime } from './database.ts'
import type { UnitOfWork } from './kysely/unit-of-work.ts'
import { ReplyGate } from './routing/reply-gate.ts'

/**
 * Makes each request of a route with `config.tenancy.transaction` one transaction. It is committed
 * before the first byte of the reply is sent. It is rolled back by an error, a status of 400 and
 * above, `rollbackOnly()`, a hijacked reply and an abort.
 */
export function registerUnitsOfWork (app: FastifyInstance, database: DatabaseRuntime): void {
  const gates = new WeakMap<UnitOfWork, ReplyGate>()

  // Returns the unit of a request that began one and was not aborted.
  const unitOf = ({ tenancy: { scope } }: FastifyRequest): UnitOfWork | undefined =>
    scope?.transaction === undefined || scope.isClosed ? undefined : database.unitOfWork(scope)

  app.addHook('onRoute', route => {
    if (!resolveRouteTenancy(route.config?.tenancy).transaction) return
    // After the application's own hooks, because the tenant is known then and the handler comes
    // next.
    route.preHandler = [route.preHandler ?? [],
      (request: FastifyRequest, _reply: unknown, done: () => void) => {
        const { scope } = request.tenancy
        if (scope !== undefined && !scope.isClosed) database.unitOfWork(scope)
        done()
      }].flat()
  })

  // Registered on the application, so that it also runs if a route calls reply.callNotFound(). With
  // callbacks instead of promises, because a reply that is sent without being returned must be
  // started when the handler's promise settles.
  app.addHook('onSend', (request, reply, payload, done) => {
    const unit = unitOf(request)
    if (unit !== undefined) {
      if (!gates.has(unit)) gates.set(unit, new ReplyGate(reply, unit))
      quiet(payload)
    }
    done(null, payload)
  })
  app.addHook('onError', (request, _reply, _error, done) => {
    const unit = unitOf(request)
    if (unit !== undefined) {
      unit.rollbackOnly()
      gates.get(unit)?.onError()
    }
    done()
  })
}

// Adds an error listener to a stream. A later hook may wait or drop the stream, and an unhandled
// error event would then end the process. Fastify still notices the error, because it checks the
// stream's state.
function quiet (payload: unknown): void {
  const { pipe, on } = (payload ?? {}) as Partial<NodeJS.ReadableStream>
  if (typeof pipe === 'function' && typeof on === 'function') Reflect.apply(on, payload, ['error', () => {}])
}
