import type { FastifyInstance, FastifyReply } from 'fastify'

import type { Account, Accounts } from '../accounts.ts'
import { InvitationInvalid, WrongPassword } from '../errors.ts'
import { object } from './schemas.ts'

/**
 * Log-in and invitations are asked at the tenant's host. Only these routes are served without a
 * claim (`agreement: false`).
 */
export function logInRoutes (app: FastifyInstance, accounts: Accounts): void {
  const config = { tenancy: { agreement: false } }

  const answer = (reply: FastifyReply, tenant: string, { userId, role }: Account): object => {
    const token = app.jwt.sign({ sub: userId, tenant, role })
    // Without `domain`, the browser sends the cookie to this tenant's host only.
    reply.setCookie('session', token, { httpOnly: true, sameSite: 'lax', path: '/' })
    return { token }
  }

  app.post<{ Body: { email: string; password: string } }>('/log-in', {
    config,
    schema: { summary: 'Get a token', body: object('email', 'password') }
  }, async ({ tenant, body }, reply) => {
    const member = await accounts.member(tenant.id, body.email, body.password)
    if (member === undefined) throw new WrongPassword()
    return answer(reply, tenant.id, member)
  })

  app.post<{ Body: { token: string; password: string } }>('/invitations/accept', {
    config,
    schema: { summary: 'Become a member', body: object('token', 'password') }
  }, async ({ tenant, body }, reply) => {
    const member = await accounts.accept(tenant.id, body.token, body.password)
    if (member === undefined) throw new InvitationInvalid()
    return answer(reply, tenant.id, member)
  })
}
