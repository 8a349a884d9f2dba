import { resolveRouteTenancy } from '@fastify-tenancy/core'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'

import type { TenancyDatabase } from './database.ts'

/**
 * Makes each request of a route with `config.tenancy.transaction` one transaction: committed before the first byte of
 * the reply, rolled back by an error, a status of 400 and above, `rollbackOnly()`, a hijacked reply and an abort.
 */
export function registerUnitsOfWork (app: FastifyInstance, database: TenancyDatabase): void {
  app.addHook('onRoute', route => {
    if (!resolveRouteTenancy(route.config?.tenancy).transaction) return
    // Behind the application's own hooks: the tenant is known by then, and the handler comes next.
    append(route, 'preHandler', async (request: FastifyRequest) => {
      const { scope } = request.tenancy
      if (scope !== undefined) database.unitOfWork(scope)
    })
    // Last of all: another onSend that throws after a commit would answer 500 for what was done.
    append(route, 'onSend', endUnit)
  })

  async function endUnit (request: FastifyRequest, reply: FastifyReply, payload: unknown): Promise<unknown> {
    const { scope } = request.tenancy
    if (scope?.transaction === undefined) return payload
    const unit = database.unitOfWork(scope)
    // An error in the commit sends the reply through here again.
    if (!unit.isOpen) return payload
    if (reply.statusCode >= 400 || unit.isRollbackOnly) await unit.rollback()
    else await unit.commit()
    return payload
  }
}

function append (route: RouteOptions, name: 'preHandler' | 'onSend', hook: (...args: never[]) => Promise<unknown>): void {
  const own = route[name]
  Object.assign(route, { [name]: own === undefined ? [hook] : [...(Array.isArray(own) ? own : [own]), hook] })
}
