// What a reply shows of an error, and what stays in the process.
import * as cacheErrors from '../../packages/cache/src/errors.ts'
import * as core from '@fastify-tenancy/core'
import * as coreErrors from '@fastify-tenancy/core/errors'
import * as database from '@fastify-tenancy/database'
import * as manager from '@fastify-tenancy/manager'
import { toHttpError } from 'fastify-tenancy'
import { sql } from 'kysely'
import pg from 'pg'
import t from 'tap'

import { dbOf, suite } from '../support/suite.ts'
import { provision } from '../support/tenants.ts'

const named = new RegExp(
  String.raw`secret_table|pg_secret|options\.|request\.|tenancy init|lo_get|unlisted|pg_advisory|into ` +
    String.raw`|SELECT|schema|waitUntil|config\.tenancy`,
  'i'
)

const constructors = Object.entries({ ...core, ...coreErrors, ...database, ...cacheErrors, ...manager })
  .filter(([name, value]) => /^[A-Z]\w*Error$/.test(name) && typeof value === 'function') as [
    string,
    coreErrors.TenancyErrorConstructor
  ][]

t.test('every error of the suite has a general text for the reply, with itself as cause', async t => {
  t.ok(constructors.length > 18)
  for (const [name, Constructor] of constructors) {
    const thrown = new Constructor('column x of secret_table: call pg_secret(), or give options.database.url')
    const shown = toHttpError(thrown) as core.TenancyError
    if (name === 'RateLimitedError') continue // its own text contains the seconds
    if (/^Internal(Type)?Error$/.test(name)) {
      t.match(shown, {
        message: 'Internal Server Error',
        code: 'FST_TENANCY_INTERNAL_ERROR',
        statusCode: 500,
        cause: thrown
      })
      continue
    }
    t.notMatch(shown.message, named, name)
    t.equal(shown.code, thrown.code, name)
    t.equal(shown.statusCode, thrown.statusCode, name)
    t.same(shown.headers, thrown.headers, name)
    t.equal(shown.cause, thrown, name)
    t.notMatch((toHttpError(new Constructor()) as Error).message, named, name)
    t.equal((toHttpError(shown) as Error).message, shown.message, `${name}: a second time`)
  }
})

t.test('an own retry-after is kept', async t => {
  const thrown = Object.assign(new core.TenantNotReadyError('the move of secret_table'), { retryAfter: 42 })
  t.same((toHttpError(thrown) as core.TenancyError).headers, { 'retry-after': '42' })
})

function statusOf (code: string): unknown[] {
  const { statusCode, headers } = toHttpError(
    Object.assign(new pg.DatabaseError('secret_table', 1, 'error'), { code })
  ) as core.TenancyError
  return [statusCode, headers?.['retry-after']]
}

t.test('errors of the server: out of resources and of its disk are 503 with retry-after', async t => {
  for (
    const code of ['53000', '53100', '53200', '53300', '53400', '58030', '25006', '08006', '57P01', '57P03']
  ) t.same(statusOf(code), [503, '1'], code)
  for (const code of ['58000', '58P01', '25001', '25P02', '42P01', 'XX000'])
    t.same(statusOf(code), [500, undefined], code)
})

t.test('a refused query is a general text in the reply; the handler and the log have the whole', async t => {
  const on = await provision(t)
  const lines: string[] = []
  const app = await suite(t, on, {
    isolation: 'row',
    rls: {},
    logStream: {
      write: line => {
        lines.push(line)
      }
    }
  })
  const caught: string[] = []
  const routes: Record<string, (request: { db: unknown }) => Promise<unknown>> = {
    '/raw': request => sql`select lo_get(1)`.execute(dbOf(request)),
    '/table': request =>
      (dbOf(request) as never as {
        selectFrom(name: string): { selectAll(): { execute(): Promise<unknown> } }
      }).selectFrom('unlisted').selectAll().execute(),
    '/function': request =>
      dbOf(request).selectFrom('notes').select(({ fn }) => fn<string>('pg_secret', []).as('x')).execute()
  }
  for (const [url, work] of Object.entries(routes)) {
    app.get(url, async request => {
      try {
        return await work(request)
      } catch (error) {
        caught.push((error as Error).message)
        throw error
      }
    })
  }
  app.setNotFoundHandler(async request => sql`select lo_get(1)`.execute(dbOf(request)))
  for (const url of [...Object.keys(routes), '/none']) {
    const { statusCode, body } = await app.inject({ url, headers: { host: 'acme.example.com' } })
    t.same([statusCode, JSON.parse(body)], [500, {
      statusCode: 500,
      code: 'FST_TENANCY_QUERY_REFUSED',
      error: 'Internal Server Error',
      message: 'The query was refused'
    }], url)
  }
  t.match(caught, [/raw/, /unlisted/, /pg_secret/])
  for (const text of ['unlisted', 'pg_secret']) t.match(lines.join(''), text, 'the log has it')
})

t.test('other mistakes of a handler show no name either', async t => {
  const on = await provision(t)
  const app = await suite(t, on)
  const mistakes: Record<string, (request: never) => unknown> = {
    '/closed': async ({ tenancy, db }: { tenancy: { scope: { end(): void } }; db: unknown }) => {
      tenancy.scope.end()
      return sql`select 1`.execute(dbOf({ db }))
    },
    '/option': async (
      { cache }: { cache: { set(key: string, value: unknown, options: object): Promise<void> } }
    ) => cache.set('k', 1, { ttl: 5 }),
    '/value': async ({ cache }: { cache: { set(key: string, value: unknown): Promise<void> } }) =>
      cache.set('k', 1n),
    '/keyword': async ({ db }: { db: unknown }) => sql`set role none`.execute(dbOf({ db })),
    '/into': async ({ db }: { db: unknown }) =>
      sql`select 1 as x into temporary secret_table`.execute(dbOf({ db })),
    '/lock': async ({ db }: { db: unknown }) => sql`select pg_advisory_lock(1)`.execute(dbOf({ db }))
  }
  for (const [url, work] of Object.entries(mistakes)) app.get(url, work as never)
  app.get('/off', { config: { tenancy: 'off' } }, async request => (request as unknown as { db: unknown }).db)
  for (const url of [...Object.keys(mistakes), '/off']) {
    const { statusCode, body } = await app.inject({ url, headers: { host: 'acme.example.com' } })
    t.equal(statusCode, 500, url)
    t.match(JSON.parse(body), { code: /^FST_TENANCY_/ }, url)
    t.notMatch((JSON.parse(body) as { message: string }).message, named, url)
  }
})

t.test('an error without a code gets a general text only if the suite throws it', async t => {
  const on = await provision(t)
  const lines: string[] = []
  const app = await suite(t, on, {
    logStream: {
      write: line => {
        lines.push(line)
      }
    }
  })
  type Given = { db: unknown; cache: { get(key: unknown): Promise<unknown> } }
  const ours: Record<string, readonly [(request: Given) => unknown, RegExp]> = {
    '/nul': [async ({ db }) => sql.raw("select '\0'").execute(dbOf({ db })), /NUL character/],
    '/many': [
      async ({ db }) =>
        sql`select ${sql.join(Array.from({ length: 65_536 }, () => 1))}`.execute(dbOf({ db })),
      /at most \d+ parameters/
    ],
    '/key': [async ({ cache }) => cache.get(7), /cache key must be a string/]
  }
  const caught: unknown[] = []
  for (const [url, [work]] of Object.entries(ours)) {
    app.get(url, async request => {
      try {
        return await work(request as never)
      } catch (error) {
        caught.push(error)
        throw error
      }
    })
  }
  app.get('/own', async () => {
    throw new TypeError('a text of the application')
  })
  app.get('/wrapped', async request => {
    try {
      return await (request as never as Given).cache.get(7)
    } catch (cause) {
      throw new Error('its own words', { cause })
    }
  })
  const ask = async (url: string): Promise<unknown> => {
    const { statusCode, body } = await app.inject({ url, headers: { host: 'acme.example.com' } })
    return [statusCode, (JSON.parse(body) as { message: string }).message]
  }
  for (const url of ['/nul', '/many', '/key']) t.same(await ask(url), [500, 'Internal Server Error'], url)
  for (const [index, [url, [, text]]] of Object.entries(ours).entries()) {
    t.match(caught[index], { message: text }, `${url}: the handler has the text`)
    t.ok(caught[index] instanceof TypeError)
    t.match(lines.join(''), text, `${url}: and so has the log`)
  }
  t.same(await ask('/own'), [500, 'a text of the application'])
  t.same(await ask('/wrapped'), [500, 'its own words'])
})
