// What @fastify/rate-limit promises for a route, through config.rateLimit, app.rateLimit() and
// app.createRateLimit(). These are the behaviours of its own tests, except for its default store.
// The README lists the differences.
import Fastify, { type FastifyContextConfig, type FastifyInstance, type FastifyRequest } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'

import { toTenant } from '@fastify-tenancy/core'
import rateLimit, { type RateLimitOptions } from '@fastify-tenancy/rate-limit'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { get, startApp, statuses, stubResolver } from './app.ts'

type Config = Exclude<NonNullable<FastifyContextConfig['rateLimit']>, false>

const stores: [string, string | false, () => Pick<RateLimitOptions, 'redis'>][] = [
  ['in process', false, () => ({})],
  ['in Redis', noRedis, () => ({ redis: freshRedisOptions() })]
]

/** An app with one limited route. */
async function limited (
  t: Test,
  store: Pick<RateLimitOptions, 'redis'>,
  config: Config,
  more: (app: FastifyInstance) => void = () => {}
): Promise<FastifyInstance> {
  return startApp(t, { limits: { default: { rpm: 'unlimited' } }, ...store }, {
    routes: app => {
      app.get('/limited', { config: { rateLimit: config } }, async () => ({}))
      more(app)
    }
  })
}

for (const [where, skip, store] of stores) {
  t.test(`a route's limit ${where}`, { skip }, async t => {
    t.test('counts down, refuses with 429, and says when', async t => {
      const app = await limited(t, store(), { max: 2, timeWindow: '1 minute' })
      const answers = [await get(app, 'acme', '/limited'), await get(app, 'acme', '/limited'),
        await get(app, 'acme', '/limited')]
      t.same(
        answers.map((
          { status, headers }
        ) => [status, headers['x-ratelimit-limit'], headers['x-ratelimit-remaining']]),
        [[200, '2', '1'], [200, '2', '0'], [429, '2', '0']]
      )
      t.ok(Number(answers[2]?.headers['retry-after']) >= 55)
    })

    t.test('takes timeWindow and max as numbers, texts and functions of the request and its key', async t => {
      const seen: [string | undefined, string][] = []
      const app = await limited(t, store(), {
        max: (request, key) => {
          seen.push([request.headers['x-tenant']?.toString(), key])
          return request.headers['x-many'] === undefined ? 1 : 3
        },
        timeWindow: async () => 60_000,
        keyGenerator: async request => request.headers['x-user']?.toString() ?? ''
      })
      t.same(await statuses(app, 'acme', 2, '/limited'), [200, 429])
      const many = async (): Promise<number> =>
        (await get(app, 'acme', '/limited', { 'x-many': '1', 'x-user': 'ann' })).status
      t.same([await many(), await many(), await many(), await many()], [200, 200, 200, 429])
      t.same(seen[0], ['acme', ''], 'the key is the one that keyGenerator gave')
    })

    t.test('lets pass whom allowList names, without counting', async t => {
      const app = await limited(t, store(), {
        max: 1,
        allowList: async request => request.headers['x-friend'] !== undefined
      })
      for (let i = 0; i < 3; i++) {
        const friend = await get(app, 'acme', '/limited', { 'x-friend': 'yes' })
        t.equal(friend.status, 200)
        t.equal(friend.headers['x-ratelimit-limit'], undefined)
      }
      t.same(await statuses(app, 'acme', 2, '/limited'), [200, 429])
    })

    t.test('calls onExceeding for each admitted and onExceeded for each refused request', async t => {
      const calls: string[] = []
      const app = await limited(t, store(), {
        max: 1,
        onExceeding: (_, key) => {
          calls.push(`ing ${key}`)
        },
        onExceeded: (_, key) => {
          calls.push(`ed ${key}`)
        }
      })
      await statuses(app, 'acme', 3, '/limited')
      t.same(calls, ['ing 127.0.0.1', 'ed 127.0.0.1', 'ed 127.0.0.1'])
    })

    t.test('the limit runs in the configured hook, after earlier hooks, and ends the request', async t => {
      for (const hook of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
        const order: string[] = []
        const note = async (request: FastifyRequest): Promise<void> => {
          order.push(String(request.headers['x-step']))
        }
        const app = await startApp(t, { limits: {}, ...store() }, {
          routes: app =>
            app.get('/limited', {
              config: { rateLimit: { max: 1, hook } },
              [hook]: note,
              preHandler: hook === 'preHandler' ? [note] : [],
              handler: async () => order.push('handler')
            })
        })
        t.same([(await get(app, 'acme', '/limited', { 'x-step': 'one' })).status,
          (await get(app, 'acme', '/limited', { 'x-step': 'two' })).status], [200, 429])
        t.same(order, ['one', 'handler', 'two'], hook)
      }
    })

    t.test('counts a HEAD with its GET, and once', async t => {
      const app = await limited(t, store(), { max: 2 })
      const head = await app.inject({ method: 'HEAD', url: '/limited', headers: { 'x-tenant': 'acme' } })
      t.equal(head.headers['x-ratelimit-remaining'], '1')
      t.same(await statuses(app, 'acme', 2, '/limited'), [200, 429])
    })

    t.test('leaves routes without a config, and those with false, alone', async t => {
      const app = await limited(t, store(), { max: 1 }, app => {
        app.get('/free', async () => ({}))
        app.get('/false', { config: { rateLimit: false } }, async () => ({}))
      })
      for (const url of ['/free', '/false']) t.same(await statuses(app, 'acme', 3, url), [200, 200, 200])
    })

    t.test('two routes with one groupId share their counter, others do not', async t => {
      const app = await limited(t, store(), { max: 2, groupId: 'g' }, app => {
        app.get('/same', { config: { rateLimit: { max: 2, groupId: 'g' } } }, async () => ({}))
        app.get('/other', { config: { rateLimit: { max: 2, groupId: 'h' } } }, async () => ({}))
      })
      t.same([await statuses(app, 'acme', 1, '/limited'), await statuses(app, 'acme', 2, '/same'),
        await statuses(app, 'acme', 2, '/other')], [[200], [200, 429], [200, 200]])
    })

    t.test('app.rateLimit() limits a route by a hook, and a not-found handler', async t => {
      const app = await startApp(t, { limits: {}, ...store() }, {
        routes: app => {
          app.get('/hooked', { preHandler: app.rateLimit({ max: 1 }) }, async () => ({}))
          app.setNotFoundHandler(
            { preHandler: app.rateLimit({ max: 2 }) },
            (_request, reply) => reply.code(404).send({})
          )
        }
      })
      t.same(await statuses(app, 'acme', 2, '/hooked'), [200, 429])
      t.same(await statuses(app, 'globex', 2, '/hooked'), [200, 429], 'per tenant')
      t.same([await statuses(app, 'acme', 1, '/none'), await statuses(app, 'acme', 2, '/nothing')], [[404], [
        404,
        429
      ]])
    })

    t.test('app.createRateLimit() counts per tenant; increment: false looks without counting', async t => {
      const app = await startApp(t, { limits: {}, ...store() }, {
        routes: app => {
          const [mine, other] = [app.createRateLimit({ max: 2, timeWindow: '1 minute' }),
            app.createRateLimit({ max: 2 })]
          const look = app.createRateLimit({
            max: 1,
            allowList: request => request.headers['x-friend'] !== undefined
          })
          app.get('/mine', async request => mine(request))
          app.get('/peek', async request => mine(request, { increment: false }))
          app.get('/other', async request => other(request))
          app.get('/friend', async request => look(request))
        }
      })
      const body = async (
        slug: string,
        url: string,
        headers: Record<string, string> = {}
      ): Promise<unknown> => (await get(app, slug, url, headers)).body
      t.match(await body('acme', '/peek'), {
        isAllowed: false,
        max: 2,
        remaining: 2,
        isExceeded: false,
        isBanned: false,
        timeWindow: 60_000
      })
      t.match(await body('acme', '/mine'), { key: 'id-of-acme\n', remaining: 1, isExceeded: false })
      t.match(await body('acme', '/peek'), { remaining: 1, isExceeded: false })
      t.match(await body('acme', '/peek'), { remaining: 1, isExceeded: false })
      t.match(await body('acme', '/mine'), { remaining: 0, isExceeded: false })
      t.match(await body('acme', '/mine'), { remaining: 0, isExceeded: true })
      t.match(
        await body('acme', '/peek'),
        { remaining: 0, isExceeded: false },
        'refused requests are not counted: full, not exceeded'
      )
      t.match(await body('globex', '/mine'), { remaining: 1 }, 'another tenant')
      t.match(await body('acme', '/other'), { remaining: 1 }, 'another limiter')
      t.match(await body('acme', '/friend', { 'x-friend': 'yes' }), { isAllowed: true })
    })

    t.test('long keys and keys that UTF-8 cannot distinguish have counters of their own', async t => {
      const redis = store()
      const app = await limited(t, redis, {
        max: 1,
        keyGenerator: request => JSON.parse(String(request.headers['x-key'])) as string
      })
      const status = async (slug: string, key: string): Promise<number> =>
        (await get(app, slug, '/limited', {
          'x-key': JSON.stringify(key).replace(/[\u007f-\uffff]/g, char =>
            `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
        })).status
      const long = 'k'.repeat(5_000)
      for (const key of [long, `${long}x`, '\ud800', '\ud801', '\ufffd', 'k\nk']) {
        t.same([await status('acme', key), await status('acme', key), await status('globex', key)], [200, 429,
          200], key.slice(0, 10))
        await status('globex', key)
      }
      if (redis.redis === undefined) return
      const options = redis.redis as { host: string; port: number; keyPrefix: string }
      const raw = new Redis(options.port, options.host)
      t.teardown(() => {
        raw.disconnect()
      })
      const names = await raw.keys(`${options.keyPrefix}*limit-route*`)
      t.ok(
        names.length >= 12 && names.every(name => name.length < 200),
        `the longest name has ${Math.max(...names.map(name => name.length))} characters`
      )
    })
  })
}

t.test('options that @fastify/rate-limit ignores silently stop the boot', async t => {
  const refused: Record<string, unknown>[] = [
    { max: 1, allowList: ['127.0.0.1'] },
    { max: 1, ban: 1 },
    { max: 1, onBanReach: () => {} },
    { max: 1, continueExceeding: true },
    { max: 1, exponentialBackoff: true },
    { max: 1, cache: 100 },
    { max: 1, redis: {} },
    { max: 1, nameSpace: 'x' },
    { max: 1, store: Map },
    { max: 1, skipOnError: true },
    { max: 1, enableDraftSpec: true },
    { max: 1, addHeaders: {} },
    { max: 1, addHeadersOnExceeding: {} },
    { max: 1, ipv6Subnet: 48 },
    { max: 1, global: true },
    { max: 1, groupId: 1 },
    { max: Number.NaN },
    { max: 1, timeWindow: Number.NaN },
    {}
  ]
  for (const config of refused) {
    const what = JSON.stringify(config)
    await t.rejects(limited(t, {}, config as Config), { code: 'FST_TENANCY_OPTION_INVALID' }, what)
    for (const name of ['createRateLimit', 'rateLimit'] as const) {
      await t.rejects(startApp(t, { limits: {} }, { routes: app => app[name](config as Config) }), {
        code: 'FST_TENANCY_OPTION_INVALID',
        message: new RegExp(name)
      }, `${name} ${what}`)
    }
  }
  await t.rejects(startApp(t, { limits: {} }, { routes: app => app.createRateLimit() }), {
    code: 'FST_TENANCY_OPTION_INVALID'
  }, 'without options')
})

t.test('without a tenant its limits count for the address, of IPv6 the /64', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(stubResolver({ acme: toTenant({ id: 'a', slug: 'acme' }) }))
  await app.register(rateLimit, { limits: {} })
  app.get('/health', { config: { tenancy: 'off', rateLimit: { max: 1 } } }, async () => ({}))
  for (
    const [address, status] of [['192.0.2.1', 200], ['192.0.2.1', 429], ['::ffff:192.0.2.1', 429], [
      '2001:db8::1',
      200
    ], ['2001:db8::ffff', 429], ['2001:db8:0:1::1', 200]] as const
  ) {
    t.equal((await app.inject({ url: '/health', remoteAddress: address })).statusCode, status, address)
  }
})
