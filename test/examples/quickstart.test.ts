// The quickstart as its reader runs it over HTTP: with nothing installed, and on PostgreSQL and
// Redis.
import { assertOwn } from '@fastify-tenancy/testing'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { buildApp, type Settings } from '../../examples/quickstart/src/app.ts'
import { freshDatabase, noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'

interface Answer {
  readonly status: number
  readonly headers: Record<string, string | string[] | undefined>
  readonly text: string
  readonly body: Record<string, never>
}

type Send = (host: string, method: string, path: string, payload?: unknown) => Promise<Answer>

async function start (t: Test, settings: Partial<Settings>): Promise<Send> {
  const app = await buildApp({
    baseDomain: 'localhost',
    databaseUrl: 'pglite://memory',
    limitsFile: 'examples/quickstart/limits.json',
    isolation: 'rls',
    logger: false,
    ...settings
  })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return (host, method, path, payload) =>
    new Promise((resolve, reject) => {
      const body = payload === undefined
        ? undefined
        : typeof payload === 'string'
        ? payload
        : JSON.stringify(payload)
      const request = send({
        port,
        host: '127.0.0.1',
        method,
        path,
        headers: { host, ...(body !== undefined && { 'content-type': 'application/json' }) }
      }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        }).on('end', () => {
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            body: text.startsWith('{') ? JSON.parse(text) as never : {}
          })
        })
      })
      request.on('error', reject).end(body)
    })
}

function story (
  name: string,
  settings: (t: Test) => Promise<Partial<Settings>>,
  options: { skip?: string | false } = {}
): void {
  t.test(name, options, async t => {
    const http = await start(t, await settings(t))
    const acme: (method: string, path: string, payload?: unknown) => Promise<Answer> = (...rest) =>
      http('acme.localhost', ...rest)
    const globex: typeof acme = (...rest) => http('globex.localhost', ...rest)

    await t.test('each host is its tenant', async t => {
      t.same((await http('anything at all', 'GET', '/health')).body, { status: 'ok' })
      for (const [slug, plan] of [['acme', 'free'], ['globex', 'pro']] as const) {
        const { status, body } = await http(`${slug}.localhost`, 'GET', '/me')
        t.equal(status, 200)
        t.match(body, { id: /^[0-9a-f-]{36}$/, slug, name: String, plan })
      }
    })

    await t.test('SID-03 acme creates "Secret Project", and globex gets nothing of it', async t => {
      const created = await acme('POST', '/projects', { name: 'acme:Secret' })
      t.equal(created.status, 201)
      t.match(created.body, { id: /^[0-9a-f-]{36}$/, name: 'acme:Secret', createdAt: /Z$/ })
      const path = `/projects/${String(created.body.id)}`
      const task = await acme('POST', `${path}/tasks`, { title: 'acme:task' })
      t.equal(task.status, 201)
      t.same(Object.keys(task.body), ['id', 'title', 'createdAt'])

      const missing = `/projects/${randomUUID()}`
      const answers = [
        await globex('GET', '/projects'),
        await globex('GET', '/stats'),
        await globex('GET', `${path}/tasks`),
        await globex('GET', path),
        await globex('PATCH', path, { name: 'globex:Mine' }),
        await globex('DELETE', path),
        await globex('POST', `${path}/tasks`, { title: 'globex:task' })
      ]
      for (const { text } of answers)
        t.equal(assertOwn(text, { tenant: 'globex', tenants: ['acme', 'globex'] }), 0)
      t.same(answers[0]?.body, { projects: [] })
      t.same(answers[1]?.body, { projects: 0, tasks: 0 })
      t.same(answers.slice(2).map(({ status }) => status), [404, 404, 404, 404, 404])
      // The replies for another tenant's id and for an unused id must be equal.
      for (
        const [method, payload] of [['GET', undefined], ['PATCH', { name: 'x' }], ['DELETE',
          undefined]] as const
      ) {
        t.equal((await globex(method, missing, payload)).text, (await globex(method, path, payload)).text)
      }

      t.match((await acme('GET', path)).body, { name: 'acme:Secret' })
      t.match((await acme('GET', `${path}/tasks`)).body, { tasks: [{ title: 'acme:task' }] })
      t.same((await acme('GET', '/stats')).body, { projects: 1, tasks: 1 })
      t.match((await acme('PATCH', path, { name: 'acme:Renamed' })).body, { name: 'acme:Renamed' })
      t.equal((await acme('DELETE', path)).status, 204)
      t.equal((await acme('GET', path)).status, 404)
      t.same(
        (await acme('GET', '/stats')).body,
        { projects: 0, tasks: 0 },
        'its tasks went too, and the count was forgotten'
      )
    })

    await t.test('bad input gets one clear error and changes nothing', async t => {
      for (
        const payload of [{}, { name: '' }, { name: 7 }, { name: null }, { name: 'x'.repeat(201) }, [],
          '"text"', '{broken', { name: 'a\0b' }]
      ) {
        const { status, body } = await acme('POST', '/projects', payload)
        t.equal(status, 400, JSON.stringify(payload))
        t.match(body, { statusCode: 400, error: 'Bad Request', message: String })
      }
      for (const id of ['7', 'x', `${randomUUID()}x`, '%00', "'; drop table projects", 'x'.repeat(5_000)])
        t.equal((await acme('GET', `/projects/${encodeURIComponent(id)}`)).status, 404, id)
      t.same((await acme('GET', '/nowhere')).body, {
        statusCode: 404,
        code: 'NOT_FOUND',
        error: 'Not Found',
        message: 'There is no such route'
      })
      t.same((await acme('GET', '/projects')).body, { projects: [] })
      for (
        const [host, status, code] of [
          ['nobody.localhost', 404, 'FST_TENANCY_TENANT_UNKNOWN'],
          ['www.localhost', 400, 'FST_TENANCY_TENANT_MISSING'],
          ['localhost', 400, 'FST_TENANCY_TENANT_MISSING'],
          ['a@b.localhost', 400, 'FST_TENANCY_HOST_INVALID'],
          ['127.0.0.1', 400, 'FST_TENANCY_HOST_INVALID'],
          ['acme.localhost.evil.com', 404, 'FST_TENANCY_TENANT_UNKNOWN'],
          ['a.acme.localhost', 404, 'FST_TENANCY_TENANT_UNKNOWN']
        ] as const
      ) {
        const { body } = await http(host, 'GET', '/projects')
        t.match(body, { statusCode: status, code }, host)
      }
    })

    await t.test("RL-01 RL-18 acme hits its plan's limit, and globex does not", async t => {
      let answer = await acme('GET', '/me')
      for (let i = 0; i < 61 && answer.status === 200; i++) answer = await acme('GET', '/me')
      t.equal(answer.status, 429)
      t.match(answer.body, { statusCode: 429, code: 'FST_TENANCY_RATE_LIMITED' })
      t.match(answer.headers, {
        'retry-after': /^[1-9]\d?$/,
        'x-ratelimit-limit': '60',
        'x-ratelimit-remaining': '0'
      })
      t.equal((await globex('GET', '/me')).status, 200)
    })
  })
}

story('with PGlite and in-process stores', async () => ({}))

story('with PostgreSQL and Redis', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  return { databaseUrl: await freshDatabase(t), redisUrl: redis.url }
}, { skip: noRedis })

for (const isolation of ['row', 'schema', 'database'] as const) {
  t.test(`the same application runs with ISOLATION=${isolation}`, async t => {
    const http = await start(t, { databaseUrl: await freshDatabase(t), isolation })
    const created = await http('acme.localhost', 'POST', '/projects', { name: 'acme:1' })
    t.equal(created.status, 201)
    const path = `/projects/${String(created.body.id)}`
    t.equal((await http('acme.localhost', 'POST', `${path}/tasks`, { title: 'acme:task' })).status, 201)
    t.same((await http('acme.localhost', 'GET', '/stats')).body, { projects: 1, tasks: 1 })
    t.same((await http('globex.localhost', 'GET', '/projects')).body, { projects: [] })
    t.same((await http('globex.localhost', 'GET', '/stats')).body, { projects: 0, tasks: 0 })
    for (const method of ['GET', 'DELETE'])
      t.equal((await http('globex.localhost', method, path)).status, 404)
    t.match((await http('acme.localhost', 'PATCH', path, { name: 'acme:2' })).body, { name: 'acme:2' })
    t.equal((await http('acme.localhost', 'DELETE', path)).status, 204)
    t.same((await http('acme.localhost', 'GET', '/stats')).body, { projects: 0, tasks: 0 })
  })
}

t.test("RL-01 a limits file of the reader's own sets other limits", async t => {
  const file = join(t.testdir(), 'limits.yaml')
  writeFileSync(file, 'tenants:\n  acme: { rpm: 2 }\n  globex: { rpm: 4 }\n')
  const http = await start(t, { limitsFile: file, databaseUrl: await freshDatabase(t) })
  const statuses = async (slug: string): Promise<number[]> => {
    const all: number[] = []
    for (let i = 0; i < 5; i++) all.push((await http(`${slug}.localhost`, 'GET', '/me')).status)
    return all
  }
  t.same(await statuses('acme'), [200, 200, 429, 429, 429])
  t.same(await statuses('globex'), [200, 200, 200, 200, 429])
})

t.test('two processes start on one empty database at once, and share it', { skip: noRedis }, async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const databaseUrl = await freshDatabase(t)
  const [one, two] = await Promise.all([0, 1].map(() => start(t, { databaseUrl, redisUrl: redis.url })))
  t.equal((await one?.('acme.localhost', 'POST', '/projects', { name: 'acme:1' }))?.status, 201)
  t.match((await two?.('acme.localhost', 'GET', '/projects'))?.body, { projects: [{ name: 'acme:1' }] })
  t.same((await two?.('globex.localhost', 'GET', '/projects'))?.body, { projects: [] })
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  for (const key of await client.keys('*'))
    t.match(
      key,
      /^tenancy:[0-9a-f-]{36}:(?:processes$|[a-z-]*:?\{)/,
      "every key is the suite's, and a tenant's is in its hash tag"
    )
})
