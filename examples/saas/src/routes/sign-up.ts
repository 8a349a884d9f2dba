import type { Manager } from '@fastify-tenancy/manager'
import type { FastifyInstance } from 'fastify'
import { randomUUID } from 'node:crypto'

import type { Accounts } from '../accounts.ts'
import { WrongPassword } from '../errors.ts'
import { object } from './schemas.ts'

interface SignUp {
  readonly company: string
  readonly slug: string
  readonly email: string
  readonly password: string
}

/** A company signs up. It has no tenant yet, so this route asks for none. */
export function signUpRoutes (app: FastifyInstance, accounts: Accounts, manager: Manager): void {
  app.post<{ Body: SignUp }>('/sign-up', {
    config: { tenancy: 'off' },
    schema: { summary: 'Make a tenant', body: object('company', 'slug', 'email', 'password') }
  }, async ({ body }, reply) => {
    const userId = await accounts.signIn(body.email, body.password)
    if (userId === undefined) throw new WrongPassword()
    // The owner comes first: no tenant is ever without one, whenever this process dies.
    const id = randomUUID()
    await accounts.join(id, userId, 'owner')
    try {
      const { slug, name, plan } = await manager.create({ id, slug: body.slug, name: body.company })
      await app.tenancy.invalidate({ id })
      return await reply.code(201).send({ slug, name, plan })
    } catch (error) {
      await accounts.leave(id, userId)
      throw error // FST_TENANCY_TENANT_CONFLICT (409) says what is wrong with the slug
    }
  })
}
