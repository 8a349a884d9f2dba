import userRateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'

import rateLimit, { type RateLimitOptions } from '@fastify-tenancy/rate-limit'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { get, startApp, statuses, stubResolver, tenant } from './app.ts'

function begin (t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(stubResolver({ acme: tenant('acme') }))
  return app
}

const stores: [string, string | false, () => Pick<RateLimitOptions, 'redis'>][] = [
  ['in process', false, () => ({})],
  ['in Redis', noRedis, () => ({ redis: freshRedisOptions() })]
]

for (const [where, skip, store] of stores) {
  t.test(`config.rateLimit ${where}`, { skip }, async (t: Test) => {
    t.test("RL-03 a route adds its own limit per tenant and stays in its tenant's bucket", async t => {
      const app = await startApp(t, { limits: { default: { rpm: 6 } }, ...store() }, {
        routes: app => {
          app.get('/login', { config: { rateLimit: { max: 2, timeWindow: '1 minute' } } }, async () => ({}))
          app.get('/wide', { config: { rateLimit: { max: 1_000 } } }, async () => ({}))
        }
      })
      t.same(await statuses(app, 'acme', 3, '/login'), [200, 200, 429])
      t.same(await statuses(app, 'globex', 2, '/login'), [200, 200], 'another tenant has its own count')
      t.same(
        await statuses(app, 'acme', 4, '/wide'),
        [200, 200, 200, 429],
        'what the route refused had been admitted by the bucket'
      )
    })

    t.test('RL-18 its 429 is like the others', async t => {
      const app = await startApp(t, { limits: {}, ...store() }, {
        routes: app => app.get('/login', { config: { rateLimit: { max: 1 } } }, async () => ({}))
      })
      t.match((await get(app, 'acme', '/login')).headers, {
        'x-ratelimit-limit': '1',
        'x-ratelimit-remaining': '0',
        'ratelimit-policy': '"tenant";q=100;w=60'
      })
      const refused = await get(app, 'acme', '/login')
      const after = Number(refused.headers['retry-after'])
      t.ok(after >= 55 && after <= 61, `${after} s`)
      t.same(refused.body, {
        statusCode: 429,
        code: 'FST_TENANCY_RATE_LIMITED',
        error: 'Too Many Requests',
        message: `Rate limit exceeded, retry in ${after} s`
      })
    })

    t.test('RL-08 no route key or group lets two tenants share a counter', async t => {
      const app = await startApp(t, { limits: { default: { rpm: 5 } }, ...store() }, {
        routes: app => {
          app.get('/keyed', {
            config: { rateLimit: { max: 1, keyGenerator: request => String(request.headers['x-user']) } }
          }, async () => ({}))
          for (const url of ['/one', '/two'])
            app.get(url, { config: { rateLimit: { max: 2, groupId: 'both' } } }, async () => ({}))
        }
      })
      const keyed = async (slug: string, user: string): Promise<number> =>
        (await get(app, slug, '/keyed', { 'x-user': user })).status
      t.same([await keyed('acme', 'ann'), await keyed('acme', 'ann'), await keyed('acme', 'bob'),
        await keyed('globex', 'ann')], [200, 429, 200, 200])
      t.same([await keyed('acme', 'cat'), await keyed('acme', 'dan'), await keyed('acme', 'eve')], [200, 200,
        429], 'the bucket holds')
      t.same([await statuses(app, 'globex', 1, '/one'), await statuses(app, 'globex', 2, '/two')].flat(), [
        200,
        200,
        429
      ])
    })

    t.test('a route that is off for tenancy may limit itself by address', async t => {
      const app = await startApp(t, { limits: {}, ...store() }, {
        routes: app =>
          app.get('/health', { config: { tenancy: 'off', rateLimit: { max: 1 } } }, async () => ({}))
      })
      t.same(await statuses(app, undefined, 2, '/health', '192.0.2.1'), [200, 429])
      t.same(await statuses(app, undefined, 1, '/health', '2001:db8::1'), [200])
      t.same(await statuses(app, undefined, 1, '/health', '2001:db8::2'), [429])
    })
  })
}

t.test('END-01 functions of config.rateLimit receive the route’s own key', async t => {
  const seen: unknown[] = []
  const note = (name: string) => (_request: unknown, key: unknown): void => {
    seen.push([name, key])
  }
  const functions = {
    max: (_request: unknown, key: unknown) => {
      seen.push(['max', key])
      return 1
    },
    timeWindow: (_request: unknown, key: unknown) => {
      seen.push(['timeWindow', key])
      return 60_000
    },
    allowList: (_request: unknown, key: unknown) => {
      seen.push(['allowList', key])
      return key === 'staff'
    },
    onExceeding: note('onExceeding'),
    onExceeded: note('onExceeded'),
    errorResponseBuilder: (_request: unknown, { max, statusCode }: { max: number; statusCode: number }) => ({
      statusCode,
      own: 'text',
      max
    })
  }
  const app = await startApp(t, { limits: {} }, {
    routes: app => {
      app.get('/keyed', {
        config: {
          rateLimit: {
            ...functions,
            groupId: 'g',
            keyGenerator: (request: FastifyRequest) => String(request.headers['x-user'])
          }
        }
      }, async () => ({}))
      app.get('/plain', { config: { rateLimit: functions } }, async () => ({}))
    }
  })
  t.equal((await get(app, 'acme', '/keyed', { 'x-user': 'ann' })).status, 200)
  t.same(seen.splice(0), [['allowList', 'ann'], ['max', 'ann'], ['timeWindow', 'ann'], ['onExceeding',
    'ann']])
  t.match(await get(app, 'acme', '/keyed', { 'x-user': 'ann' }), {
    status: 429,
    body: { statusCode: 429, own: 'text', max: 1 }
  })
  t.same(seen.splice(0).at(-1), ['onExceeded', 'ann'])
  t.equal((await get(app, 'acme', '/keyed', { 'x-user': 'staff' })).status, 200)
  t.equal((await get(app, 'acme', '/keyed', { 'x-user': 'staff' })).status, 200)
  t.same(seen.splice(0), [['allowList', 'staff'], ['allowList', 'staff']])
  t.equal((await get(app, 'acme', '/plain')).status, 200)
  t.equal(
    (seen[0] as unknown[])[1],
    '127.0.0.1',
    'without a key of its own a route has the address, as it does by itself'
  )
})

t.test('mode report lets a route pass too', async t => {
  const app = await startApp(t, { limits: {}, mode: 'report' }, {
    routes: app => app.get('/login', { config: { rateLimit: { max: 1 } } }, async () => ({}))
  })
  t.same(await statuses(app, 'acme', 3, '/login'), [200, 200, 200])
})

t.test('headers none and draft also hide the headers of the route', async t => {
  const app = await startApp(t, { limits: {}, headers: 'none' }, {
    routes: app => app.get('/login', { config: { rateLimit: { max: 1 } } }, async () => ({}))
  })
  const [, refused] = [await get(app, 'acme', '/login'), await get(app, 'acme', '/login')]
  t.notOk(Object.keys(refused.headers).some(name => name.includes('ratelimit')))
  t.ok(refused.headers['retry-after'])
})

t.test('RL-06 a wrong limit of a route stops the boot', async t => {
  const bad: object[] = [{}, { max: '5' }, { max: 0 }, { max: Number.NaN }, { max: null }, { max: 1.5 }, {
    max: 5,
    timeWindow: 'soon'
  }, { max: 5, timeWindow: '1 fortnight' }, { max: 5, timeWindow: '0 s' }, {
    max: 5,
    timeWindow: '9999999 d'
  }, { max: 5, ban: 2 }, { max: 5, cache: 2 }, { max: 5, allowList: ['1'] }]
  for (const config of bad) {
    await t.rejects(
      startApp(t, { limits: {} }, {
        routes: app => app.get('/login', { config: { rateLimit: config } }, async () => ({}))
      }),
      { code: 'FST_TENANCY_OPTION_INVALID', message: /config\.rateLimit of GET \/login/ },
      JSON.stringify(config)
    )
  }
})

t.test('a max that is computed to nonsense refuses instead of meaning no limit', async t => {
  const app = await startApp(t, { limits: {} }, {
    routes: app => app.get('/login', { config: { rateLimit: { max: () => Number.NaN } } }, async () => ({}))
  })
  t.equal((await get(app, 'acme', '/login')).status, 500)
})

t.test("the application's own registration of @fastify/rate-limit is refused", async t => {
  const before = begin(t)
  before.register(userRateLimit)
  before.register(rateLimit, { limits: {} })
  await t.rejects(async () => before.ready(), { code: 'FST_TENANCY_OPTION_INVALID' })
  const after = begin(t)
  after.register(rateLimit, { limits: {} })
  after.register(async child => {
    await child.register(userRateLimit)
  })
  await t.rejects(async () => after.ready(), { code: 'FST_TENANCY_OPTION_INVALID' })
})
