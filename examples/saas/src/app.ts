import cookie from '@fastify/cookie'
import jwt from '@fastify/jwt'
import swagger from '@fastify/swagger'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy from 'fastify-tenancy'
import { fileURLToPath } from 'node:url'

import { Accounts } from './accounts.ts'
import { logInRoutes } from './routes/log-in.ts'
import { memberRoutes } from './routes/members.ts'
import { pageRoutes } from './routes/pages.ts'
import { planRoutes } from './routes/plan-and-domains.ts'
import { projectRoutes } from './routes/projects.ts'
import { signUpRoutes } from './routes/sign-up.ts'
import { setUp, sharedOptions, type Settings } from './set-up.ts'

/** Returns the whole application, its database set up. */
export async function buildApp (settings: Settings): Promise<FastifyInstance> {
  const { secret, logger = true, limits } = settings
  const shared = sharedOptions(settings)
  const manager = await setUp(shared, settings)

  const app = Fastify({ logger })
  app.addHook('onClose', async () => {
    await manager.close()
    await shared.database.end() // the suite does not close a pool that it was given
  })
  await app.register(tenancy, {
    ...shared,
    rateLimit: limits ?? fileURLToPath(new URL('../limits.json', import.meta.url)),
    // Host and token must name the same tenant: a user of acme gets 403 at globex.
    resolver: { claim: request => request.user?.tenant }
  })
  await app.register(cookie)
  await app.register(jwt, {
    secret,
    cookie: { cookieName: 'session', signed: false },
    sign: { expiresIn: '8h' }
  })
  await app.register(swagger, { openapi: { info: { title: 'Projects', version: '1.0.0' } } })
  app.get('/openapi.json', { config: { tenancy: 'off' }, schema: { hide: true } }, () => app.swagger())

  const accounts = new Accounts(app.tenancy.global)
  signUpRoutes(app, accounts, manager)
  logInRoutes(app, accounts)
  pageRoutes(app)
  await app.register(async members => {
    members.addHook('onRequest', request => request.jwtVerify())
    projectRoutes(members)
    memberRoutes(members, accounts)
    planRoutes(members, manager)
  })
  return app
}
