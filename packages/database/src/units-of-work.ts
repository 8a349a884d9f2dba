import { resolveRouteTenancy } from '@fastify-tenancy/core'
import type { FastifyInstance, FastifyRequest } from 'fastify'

import type { DatabaseRuntime } from './database.ts'
import type { UnitOfWork } from './kysely/unit-of-work.ts'
import { ReplyGate } from './routing/reply-gate.ts'

/**
 * Makes each request of a route with `config.tenancy.transaction` one transaction. It is committed
 * when the first byte of the reply is about to leave, and rolled back by an error, a status of 400
 * and above, `rollbackOnly()`, a hijacked reply and an abort.
 */
export function registerUnitsOfWork (app: FastifyInstance, database: DatabaseRuntime): void {
  const gates = new WeakMap<UnitOfWork, ReplyGate>()

  // The unit of a request that has begun one, and is not cut short.
  const unitOf = ({ tenancy: { scope } }: FastifyRequest): UnitOfWork | undefined =>
    scope?.transaction === undefined || scope.isClosed ? undefined : database.unitOfWork(scope)

  app.addHook('onRoute', route => {
    if (!resolveRouteTenancy(route.config?.tenancy).transaction) return
    // Behind the application's own hooks: the tenant is known by then, and the handler comes next.
    route.preHandler = [route.preHandler ?? [],
      (request: FastifyRequest, _reply: unknown, done: () => void) => {
        const { scope } = request.tenancy
        if (scope !== undefined && !scope.isClosed) database.unitOfWork(scope)
        done()
      }].flat()
  })

  // A hook of the application, so that it also runs where a route calls reply.callNotFound().
  // Callbacks and no promises: a reply that is sent without being returned must be on its way when
  // the handler's promise is settled.
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

// A hook that comes later may wait, or drop the stream. An error that is emitted meanwhile would
// end the process; Fastify still sees it, since it looks at the stream's state.
function quiet (payload: unknown): void {
  const { pipe, on } = (payload ?? {}) as Partial<NodeJS.ReadableStream>
  if (typeof pipe === 'function' && typeof on === 'function') Reflect.apply(on, payload, ['error', () => {}])
}
