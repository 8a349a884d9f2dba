// Which error handler runs, and with which error.
import { memoryRegistry } from '@fastify-tenancy/core'
import Fastify, { type FastifyInstance } from 'fastify'
import tenancy, { toHttpError } from 'fastify-tenancy'
import { sql } from 'kysely'
import t, { type Test } from 'tap'

import { dbOf, tenants } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

const on = await provision(t)
const headers = { host: 'acme.example.com' }

/**
 * An application with a route whose query fails. `before` and `after` run around the suite's
 * registration.
 */
async function start (
  t: Test,
  { before = () => {}, after = () => {} }: Partial<
    Record<'before' | 'after', (app: FastifyInstance) => unknown>
  >
): Promise<(url?: string) => Promise<unknown>> {
  const app = Fastify({ allowErrorHandlerOverride: false })
  t.teardown(() => app.close())
  await before(app)
  await app.register(tenancy, {
    baseDomain: 'example.com',
    database: on.url,
    rls: { secret: on.secret ?? '' },
    tables: on.tables,
    registry: memoryRegistry(tenants)
  })
  await after(app)
  app.get('/', async request => sql`select 'secret'::int`.execute(dbOf(request)))
  return async (url = '/') => {
    const { statusCode, body } = await app.inject({ url, headers })
    return [statusCode, (JSON.parse(body) as { message: string }).message]
  }
}

const generic = [400, 'A value has the wrong form']

t.test('END-01 without a handler of the application’s the reply is generic', async t => {
  const get = await start(t, {})
  t.same(await get(), generic)
})

for (const when of ['before', 'after'] as const) {
  t.test(`END-01 a handler that was set ${when} the suite gets the error as it was thrown, once`, async t => {
    const codes: unknown[] = []
    const get = await start(t, {
      [when]: (app: FastifyInstance) => {
        app.setErrorHandler((error: { code?: string }, _request, reply) => {
          codes.push(error.code)
          return reply.code(418).send({ message: 'own' })
        })
      }
    })
    t.same(await get(), [418, 'own'])
    t.same(codes, ['22P02'])
  })

  t.test(`END-01 a reply or error of a handler set ${when} the suite is generic`, async t => {
    for (const how of ['send', 'throw'] as const) {
      let calls = 0
      const get = await start(t, {
        [when]: (app: FastifyInstance) => {
          app.setErrorHandler((error, _request, reply) => {
            calls++
            if (how === 'throw') throw error
            return reply.send(error)
          })
        }
      })
      t.same(await get(), generic, how)
      t.equal(calls, 1)
    }
  })
}

t.test('END-01 handlers of routes and child plugins run first and may call toHttpError()', async t => {
  const calls: string[] = []
  const get = await start(t, {
    after: async app => {
      await app.register(async child => {
        child.setErrorHandler(async (error, _request, reply) => {
          calls.push('child')
          const { statusCode, message } = toHttpError(error) as { statusCode: number; message: string }
          return reply.code(statusCode).send({ message: `child: ${message}` })
        })
        child.get('/child', async request => sql`select 'secret'::int`.execute(dbOf(request)))
        child.get('/route', {
          errorHandler: (error, _request, reply) => {
            calls.push('route')
            return reply.send(error)
          }
        }, async request => sql`select 'secret'::int`.execute(dbOf(request)))
      })
    }
  })
  t.same(await get('/child'), [400, 'child: A value has the wrong form'])
  t.same(calls.splice(0), ['child'])
  t.same(await get('/route'), [400, 'child: A value has the wrong form'])
  t.same(calls, ['route', 'child'])
})
