import type { FastifyInstance } from 'fastify'

import type { Accounts } from '../accounts.ts'
import { ownersOnly } from '../errors.ts'
import type { Role } from '../schema.ts'
import { object } from './schemas.ts'

export function memberRoutes (app: FastifyInstance, accounts: Accounts): void {
  app.get('/members', async ({ tenant }) => ({ members: await accounts.members(tenant.id) }))

  app.post<{ Body: { email: string; role: Role } }>('/invitations', {
    preHandler: ownersOnly,
    schema: { summary: 'Invite a person', body: object('email', 'role') }
  }, async ({ tenant, body }, reply) => {
    // Yours: send the token by mail. Who has it becomes a member.
    const token = await accounts.invite(tenant.id, body.email, body.role)
    return reply.code(201).send({ token })
  })
}
