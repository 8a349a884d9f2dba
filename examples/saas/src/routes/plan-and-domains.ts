import type { Manager } from '@fastify-tenancy/manager'
import type { FastifyInstance } from 'fastify'

import { ownersOnly } from '../errors.ts'
import { object } from './schemas.ts'

/**
 * What an owner changes of the tenant itself. The database tells the processes, which takes some
 * milliseconds. `invalidate` has this one know before it answers.
 */
export function planRoutes (app: FastifyInstance, manager: Manager): void {
  app.post<{ Body: { plan: string } }>('/plan', {
    preHandler: ownersOnly,
    schema: { summary: 'Change the plan', body: object('plan') }
  }, async ({ tenant, user, body }) => {
    // Yours: the payment comes before this line. The audit names the user.
    const { plan } = await manager.as(user.sub).update({ id: tenant.id }, { plan: body.plan })
    await app.tenancy.invalidate({ id: tenant.id })
    return { plan }
  })

  app.post<{ Body: { domain: string } }>('/domains', {
    preHandler: ownersOnly,
    schema: { summary: 'Claim a domain', body: object('domain') }
  }, async ({ tenant, user, body }, reply) => {
    const { record } = await manager.as(user.sub).domains.add({ id: tenant.id }, body.domain)
    return reply.code(201).send({ record })
  })

  app.post<{ Body: { domain: string } }>('/domains/verify', {
    preHandler: ownersOnly,
    schema: { summary: 'Look for the record of a domain', body: object('domain') }
  }, async ({ tenant, user, body }) => {
    await manager.as(user.sub).domains.verify({ id: tenant.id }, body.domain)
    await app.tenancy.invalidate({ id: tenant.id })
    return { domain: body.domain }
  })
}
