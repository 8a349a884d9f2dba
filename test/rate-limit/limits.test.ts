import t, { type Test } from 'tap'

import type { RateLimitOptions } from '@fastify-tenancy/rate-limit'

import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { get, startApp, statuses, tenant } from './app.ts'

const stores: [string, string | false, () => Pick<RateLimitOptions, 'redis' | 'precision'>][] = [
  ['in process', false, () => ({})],
  ['in Redis', noRedis, () => ({ redis: freshRedisOptions() })],
  ['in Redis, leased', noRedis, () => ({ redis: freshRedisOptions(), precision: 'leased' })]
]

for (const [where, skip, store] of stores) {
  t.test(where, { skip }, async (t: Test) => {
    t.test('RL-01 RL-02 each tenant has its own limit, and exceeding it affects no other', async t => {
      const app = await startApp(t, {
        limits: { tenants: { acme: { rpm: 2 }, globex: { rpm: 4 } } },
        ...store()
      })
      t.same(await statuses(app, 'acme', 3), [200, 200, 429])
      t.same(await statuses(app, 'globex', 5), [200, 200, 200, 200, 429])
      t.same(await statuses(app, 'acme', 1), [429])
    })

    t.test('RL-03 the limit is one over all routes, and 404s count: RL-04', async t => {
      const app = await startApp(t, { limits: { default: { rpm: 3 } }, ...store() }, {
        routes: app => app.get('/other', async () => ({}))
      })
      t.equal((await get(app, 'acme', '/')).status, 200)
      t.equal((await get(app, 'acme', '/other')).status, 200)
      t.equal((await get(app, 'acme', '/nowhere')).status, 404)
      t.equal((await get(app, 'acme', '/')).status, 429)
      t.equal((await get(app, 'acme', '/nowhere')).status, 429)
    })

    t.test('RL-04 requests without a tenant are limited by client address, IPv6 by its /64', async t => {
      const app = await startApp(t, { limits: { anonymous: { rpm: 2 } }, ...store() })
      t.same(await statuses(app, undefined, 3, '/', '192.0.2.1'), [404, 404, 429])
      t.same(
        await statuses(app, 'nobody', 1, '/nowhere', '::ffff:192.0.2.1'),
        [429],
        'the same address, written as IPv6'
      )
      t.same(await statuses(app, undefined, 1, '/', '192.0.2.2'), [404])
      t.same(await statuses(app, undefined, 2, '/', '2001:db8::1'), [404, 404])
      t.same(await statuses(app, undefined, 1, '/', '2001:db8:0:0:ffff::2'), [429])
      t.same(await statuses(app, undefined, 1, '/', '2001:db8:0:1::1'), [404])
      t.same(
        await statuses(app, 'acme', 1, '/', '192.0.2.1'),
        [200],
        'a tenant is not limited by what the address did elsewhere'
      )
      t.notOk(
        'retry-after' in (await get(app, undefined, '/', {}, '192.0.2.3')).headers,
        'a refusal that no waiting mends names no time'
      )
    })

    t.test('RL-05 a tenant that the file does not name has the default, which is 100', async t => {
      const app = await startApp(t, { limits: { plans: { pro: { rpm: 600 } } }, ...store() })
      t.equal((await get(app, 'acme')).headers['x-ratelimit-limit'], '100')
      t.equal((await get(app, 'globex')).headers['x-ratelimit-limit'], '600')
    })

    t.test('RL-08 nothing that the client sends changes its counter', async t => {
      const app = await startApp(t, { limits: { default: { rpm: 2 }, anonymous: { rpm: 2 } }, ...store() })
      const seen: number[] = []
      for (let i = 0; i < 3; i++) {
        seen.push(
          (await get(app, 'acme', `/?tenant=${i}`, {
            'x-forwarded-for': `198.51.100.${i}`,
            'x-real-ip': `${i}`,
            cookie: `t=${i}`,
            'user-agent': `${i}`,
            authorization: `Bearer ${i}`
          }, `192.0.2.${i}`)).status
        )
      }
      t.same(seen, [200, 200, 429])
      const strange: number[] = []
      for (let i = 0; i < 3; i++)
        strange.push((await get(app, undefined, '/', { 'x-forwarded-for': `198.51.100.${i}` })).status)
      t.same(strange, [404, 404, 429])
    })

    t.test('RL-17 a suspended tenant spends the budget of its sender, not of a tenant', async t => {
      const suspended = { ...tenant('gone'), status: 'suspended' as const }
      const app = await startApp(t, { limits: { default: { rpm: 2 }, anonymous: { rpm: 3 } }, ...store() }, {
        tenants: { gone: suspended, back: { ...suspended, status: 'active' }, acme: tenant('acme') }
      })
      t.same(await statuses(app, 'gone', 4), [403, 403, 403, 429])
      t.same(await statuses(app, 'acme', 3), [200, 200, 429])
      t.same(await statuses(app, 'back', 3), [200, 200, 429])
    })

    t.test('RL-18 headers show a tenant its own numbers, and a 429 when to retry', async t => {
      const app = await startApp(t, {
        limits: { tenants: { acme: { rpm: 2 }, globex: { rpm: 777 } } },
        ...store()
      })
      await get(app, 'globex')
      const first = await get(app, 'acme')
      t.match(first.headers, {
        'x-ratelimit-limit': '2',
        'x-ratelimit-remaining': '1',
        'ratelimit-policy': '"tenant";q=2;w=60',
        ratelimit: /^"tenant";r=1;t=6[01]$/
      })
      t.equal(first.headers['retry-after'], undefined)
      const reset = Number(first.headers['x-ratelimit-reset'])
      t.ok(reset >= 60 && reset <= 61)
      t.equal((await get(app, 'acme')).headers['x-ratelimit-remaining'], '0')
      const refused = await get(app, 'acme')
      t.equal(refused.status, 429)
      const after = Number(refused.headers['retry-after'])
      t.ok(after >= 55 && after <= 61)
      t.match(refused.headers, {
        'x-ratelimit-limit': '2',
        'x-ratelimit-remaining': '0',
        ratelimit: /^"tenant";r=0;t=\d+$/
      })
      t.same(refused.body, {
        statusCode: 429,
        code: 'FST_TENANCY_RATE_LIMITED',
        error: 'Too Many Requests',
        message: `Rate limit exceeded, retry in ${after} s`
      })
      t.notMatch(JSON.stringify([refused.headers, refused.body]), /777|776|globex/)
    })

    t.test('the field headers chooses which are sent', async t => {
      const limits = { default: { rpm: 5 } }
      const names = async (headers: 'both' | 'legacy' | 'draft' | 'none'): Promise<string[]> => {
        const app = await startApp(t, { limits, headers, ...store() })
        return Object.keys((await get(app, 'acme')).headers).filter(name => name.includes('ratelimit'))
          .toSorted()
      }
      const legacy = ['x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset']
      t.same(await names('both'), ['ratelimit', 'ratelimit-policy', ...legacy])
      t.same(await names('legacy'), legacy)
      t.same(await names('draft'), ['ratelimit', 'ratelimit-policy'])
      t.same(await names('none'), [])
    })

    t.test('an unlimited tenant has no headers, but its other limits', async t => {
      const app = await startApp(t, {
        limits: {
          default: { rpm: 2 },
          tenants: { acme: { rpm: 'unlimited' }, globex: { rpm: 'unlimited', burst: 3 } }
        },
        ...store()
      })
      t.same(await statuses(app, 'acme', 20), Array(20).fill(200))
      t.notOk(Object.keys((await get(app, 'acme')).headers).some(name => name.includes('ratelimit')))
      t.same(await statuses(app, 'globex', 4), [200, 200, 200, 429])
      const refused = await get(app, 'globex')
      t.ok(['1', '2'].includes(String(refused.headers['retry-after'])))
      t.equal(refused.headers['x-ratelimit-limit'], undefined)
    })

    t.test('burst bounds one second, within rpm', async t => {
      const app = await startApp(t, { limits: { default: { rpm: 100, burst: 2 } }, ...store() })
      t.same(await statuses(app, 'acme', 3), [200, 200, 429])
      t.equal(
        (await get(app, 'acme')).headers['x-ratelimit-remaining'],
        '98',
        'refused requests are not counted'
      )
    })

    t.test('BKT-01 perClient keeps a stranger from spending the budget of a tenant', async t => {
      const app = await startApp(t, { limits: { default: { rpm: 10, perClient: 2 } }, ...store() })
      t.same(await statuses(app, 'acme', 5, '/', '192.0.2.1'), [200, 200, 429, 429, 429])
      t.same(await statuses(app, 'acme', 2, '/', '192.0.2.2'), [200, 200])
      t.same(await statuses(app, 'globex', 2, '/', '192.0.2.1'), [200, 200], 'per tenant, too')
      t.equal((await get(app, 'acme', '/', {}, '192.0.2.3')).headers['x-ratelimit-remaining'], '5')
    })

    t.test('a route counts by its cost: 0 is free, more than the limit takes all of it', async t => {
      const app = await startApp(t, { limits: { default: { rpm: 5 } }, ...store() }, {
        routes: app => {
          app.get('/three', { config: { tenancy: { cost: 3 } } }, async () => ({}))
          app.get('/free', { config: { tenancy: { cost: 0 } } }, async () => ({}))
          app.get('/ten', { config: { tenancy: { cost: 10 } } }, async () => ({}))
        }
      })
      t.same(await statuses(app, 'acme', 2, '/three'), [200, 429])
      t.equal((await get(app, 'acme', '/free')).headers['x-ratelimit-remaining'], '2')
      t.same(await statuses(app, 'acme', 3), [200, 200, 429])
      t.same(await statuses(app, 'acme', 3, '/free'), [200, 200, 200])
      t.same(await statuses(app, 'globex', 2, '/ten'), [200, 429])
    })

    t.test('TRD-01 routes that are off are not limited, optional ones count by address', async t => {
      const app = await startApp(t, { limits: { anonymous: { rpm: 2 } }, ...store() }, {
        routes: app => {
          app.get('/health', { config: { tenancy: 'off' } }, async () => ({}))
          app.get('/public', { config: { tenancy: 'optional' } }, async () => ({}))
        }
      })
      t.same(await statuses(app, undefined, 5, '/health'), [200, 200, 200, 200, 200])
      t.same(await statuses(app, undefined, 3, '/public'), [200, 200, 429])
      t.same(await statuses(app, undefined, 1, '/health'), [200])
    })

    t.test('AGR-01 a tenant named only by a claim is counted once in its own bucket', async t => {
      const app = await startApp(t, { limits: { default: { rpm: 2 } }, ...store() })
      const claimed = async (): Promise<number> =>
        (await get(app, undefined, '/', { 'x-claim': 'acme' })).status
      t.same([await claimed(), await get(app, 'acme').then(({ status }) => status), await claimed()], [200,
        200, 429])
    })

    t.test('mode report counts and logs, and refuses nothing', async t => {
      const lines: string[] = []
      const app = await startApp(t, {
        limits: { default: { rpm: 1, concurrency: 5 } },
        mode: 'report',
        ...store()
      }, {
        logger: {
          level: 'warn',
          stream: {
            write: (line: string) => {
              lines.push(line)
            }
          }
        }
      })
      t.same(await statuses(app, 'acme', 3), [200, 200, 200])
      const refused = await get(app, 'acme')
      t.equal(refused.headers['x-ratelimit-remaining'], '0')
      t.equal(refused.headers['retry-after'], undefined)
      t.match(JSON.parse(lines[0] ?? '{}'), { level: 40, limit: 'rpm', retryAfter: Number })
      t.equal(lines.length, 3)
    })

    t.test('limits are looked up by id, slug, plan and default, field by field', async t => {
      const tenants = {
        acme: tenant('acme', 'pro', 'a'),
        renamed: tenant('renamed', 'pro', 'b'),
        plain: tenant('plain', 'pro', 'c')
      }
      const app = await startApp(t, {
        limits: {
          default: { rpm: 1, burst: 9 },
          plans: { pro: { rpm: 20, concurrency: 7 } },
          tenants: { 'id:a': { rpm: 40 }, acme: { rpm: 30 }, 'old-name': { rpm: 50 } }
        },
        ...store()
      }, { tenants, routes: app => app.get('/limits', async request => request.tenantLimits) })
      t.same((await get(app, 'acme', '/limits')).body, { rpm: 40, burst: 9, concurrency: 7 })
      t.same(
        (await get(app, 'renamed', '/limits')).body,
        { rpm: 20, burst: 9, concurrency: 7 },
        'SLG-02 a former slug is not inherited'
      )
      t.same(app.tenantRateLimit.limitsFor(tenants.plain), {
        rpm: 20,
        burst: 9,
        concurrency: 7,
        perClient: undefined
      })
    })
  })
}

t.test('counters survive the rename of a slug', async t => {
  const tenants = { old: tenant('old', 'free', 'a'), now: tenant('now', 'free', 'a') }
  const app = await startApp(t, { limits: { default: { rpm: 2 } } }, { tenants })
  t.same(await statuses(app, 'old', 2), [200, 200])
  t.same(await statuses(app, 'now', 1), [429])
})

t.test('RL-13 processes that share Redis share the limit', { skip: noRedis }, async t => {
  const redis = freshRedisOptions()
  const apps = await Promise.all(
    [1, 2, 3].map(() => startApp(t, { limits: { default: { rpm: 20 } }, redis }))
  )
  const all = (await Promise.all(apps.map(app =>
    Promise.all(Array.from({ length: 15 }, () => get(app, 'acme')))
  ))).flat()
  t.equal(all.filter(({ status }) => status === 200).length, 20)
  t.equal(all.filter(({ status }) => status === 429).length, 25)
})

t.test('control: without Redis each process has the whole limit', async t => {
  const apps = await Promise.all([1, 2].map(() => startApp(t, { limits: { default: { rpm: 2 } } })))
  t.same((await Promise.all(apps.map(app => statuses(app, 'acme', 3)))).flat(), [200, 200, 429, 200, 200,
    429])
})
