// Servers that format errors themselves, within a 200 or a reply of their own: tests the README's
// advice for them.
import { toHttpError } from '@fastify-tenancy/database'
import { initTRPC, TRPCError } from '@trpc/server'
import { fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import type { FastifyRequest } from 'fastify'
import type { ExecutionResult, GraphQLError } from 'graphql'
import { sql } from 'kysely'
import mercurius from 'mercurius'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

const on = await provision(t)
const headers = { host: 'acme.example.com', 'content-type': 'application/json' }
const fail = async (request: FastifyRequest): Promise<unknown> =>
  sql`select 'a secret of the database'::int`.execute(dbOf(request))

class DrizzleQueryError extends Error {
  constructor (cause: unknown) {
    super('Failed query: select a secret from projects params: 1', { cause })
  }
}

t.test('tRPC: an errorFormatter over toHttpError() shows nothing of the database', async t => {
  const app = await suite(t, on)
  const trpc = initTRPC.context<{ request: FastifyRequest }>().create({
    errorFormatter: ({ shape, error }) => {
      const shown = toHttpError(error)
      if (shown === error) return shape
      const { message, statusCode, code } = shown as { message: string; statusCode: number; code: string }
      return { ...shape, message, data: { code, httpStatus: statusCode, path: shape.data.path } }
    }
  })
  const router = trpc.router({
    plain: trpc.procedure.query(({ ctx }) => fail(ctx.request)),
    wrapped: trpc.procedure.query(async ({ ctx }) => {
      try {
        return await fail(ctx.request)
      } catch (error) {
        throw new DrizzleQueryError(error)
      }
    }),
    own: trpc.procedure.query(() => {
      throw new TRPCError({ code: 'FORBIDDEN', message: 'not yours' })
    })
  })
  await app.register(
    fastifyTRPCPlugin,
    {
      prefix: '/trpc',
      trpcOptions: { router, createContext: ({ req }: { req: FastifyRequest }) => ({ request: req }) }
    } as never
  )
  for (const name of ['plain', 'wrapped']) {
    const { body } = await app.inject({ url: `/trpc/${name}`, headers })
    t.notMatch(body, /secret|integer|Failed query/, name)
    t.match(JSON.parse(body), {
      error: {
        message: 'A value has the wrong form',
        data: { code: 'FST_TENANCY_DATABASE_VALUE', httpStatus: 400 }
      }
    }, name)
  }
  t.match((await app.inject({ url: '/trpc/own', headers })).json(), { error: { message: 'not yours' } })
})

t.test('mercurius: an errorFormatter over toHttpError() shows nothing of the database', async t => {
  const app = await suite(t, on)
  const { defaultErrorFormatter } = mercurius
  await app.register(mercurius, {
    schema: 'type Query { plain: String, own: String }',
    resolvers: {
      Query: {
        plain: async (
          _root: unknown,
          _arguments: unknown,
          { reply }: { reply: { request: FastifyRequest } }
        ) => fail(reply.request),
        own: () => {
          throw new Error('own text')
        }
      }
    },
    errorFormatter: (execution: ExecutionResult & { errors: readonly GraphQLError[] }, context: unknown) => {
      const { statusCode, response } = defaultErrorFormatter(execution, context as never)
      const errors = execution.errors.map((error, n) => {
        const original = error.originalError ?? error
        const shown = toHttpError(original) as Error & { code?: string }
        return shown === original
          ? response.errors?.[n]
          : { message: shown.message, path: error.path, extensions: { code: shown.code } }
      })
      return { statusCode, response: { data: response.data ?? null, errors } }
    }
  } as never)
  const ask = async (field: string): Promise<{ body: string }> =>
    app.inject({ method: 'POST', url: '/graphql', headers, payload: { query: `{ ${field} }` } })
  const { body } = await ask('plain')
  t.notMatch(body, /secret|integer/)
  t.match(JSON.parse(body), {
    errors: [{ message: 'A value has the wrong form', extensions: { code: 'FST_TENANCY_DATABASE_VALUE' } }]
  })
  t.match((await ask('own')).body, 'own text')
})

const wrap = (make: (error: Error) => unknown) => async (request: FastifyRequest) => {
  try {
    return await fail(request)
  } catch (error) {
    throw make(error as Error)
  }
}

t.test('END-01 an error that wraps a database error is shown as its cause', async t => {
  const app = await suite(t, on)
  app.get('/drizzle', wrap(error => new DrizzleQueryError(error)))
  app.get('/twice', wrap(error => new Error('outer', { cause: new DrizzleQueryError(error) })))
  app.get('/own', wrap(error => Object.assign(new DrizzleQueryError(error), { statusCode: 502 })))
  app.get('/below', wrap(error => Object.assign(error, { statusCode: 404, message: 'No such project' })))
  app.get('/other-driver', async () => {
    throw Object.assign(new Error('duplicate key value secret'), {
      severity: 'ERROR',
      code: '23505',
      detail: 'secret'
    })
  })
  const get = async (url: string): Promise<[number, string]> => {
    const { statusCode, body } = await app.inject({ url, headers })
    return [statusCode, (JSON.parse(body) as { message: string }).message]
  }
  t.same(await get('/drizzle'), [400, 'A value has the wrong form'])
  t.same(await get('/twice'), [400, 'A value has the wrong form'])
  t.same(await get('/own'), [502, 'Failed query: select a secret from projects params: 1'])
  t.same(await get('/below'), [404, 'No such project'])
  t.same(await get('/other-driver'), [409, 'This already exists'])
})
