// What the suite logs and allows at boot.
import Fastify from 'fastify'
import tenancy from 'fastify-tenancy'
import t from 'tap'

import { resolveTenancyOptions } from '../../packages/fastify-tenancy/src/options.ts'
import { freshRedisOptions, noRedis } from '../support/fresh.ts'
import { provision } from '../support/tenants.ts'

const on = await provision(t)
const options = {
  baseDomain: 'example.com',
  database: on.url,
  tables: on.tables,
  rls: { secret: on.secret ?? '' }
}

t.test('RED-01 with an unreachable Redis the suite starts and warns once, without the password', async t => {
  let log = ''
  const app = Fastify({
    logger: {
      level: 'warn',
      stream: {
        write: (line: string) => {
          log += line
        }
      }
    }
  })
  t.teardown(() => app.close())
  await app.register(tenancy, {
    ...options,
    redis: 'redis://:hunter2@127.0.0.1:1',
    rateLimit: { limits: {} },
    cache: { local: {} }
  })
  await app.ready()
  t.equal(log.match(/redis cannot be reached/g)?.length, 1)
  t.notMatch(log, /hunter2/)
})

t.test(
  'an index of all names may be asked for where the suite is given Redis',
  { skip: noRedis },
  async t => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(tenancy, {
      ...options,
      redis: freshRedisOptions(),
      resolver: { cache: { index: true } }
    })
    await app.ready()
  }
)

function says (given: object): string {
  try {
    resolveTenancyOptions({ ...options, ...given })
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

t.test('a misplaced option is refused, and the message names its place', async t => {
  t.equal(
    says({ resolver: { redis: 'redis://localhost' } }),
    'options.resolver.redis is not a known option: set options.redis'
  )
  t.equal(
    says({ rateLimit: { limits: {}, redis: 'redis://localhost' } }),
    'options.rateLimit.redis is not a known option: set options.redis'
  )
  t.equal(
    says({ cache: { redis: 'redis://localhost' } }),
    'options.cache.redis is not a known option: set options.redis'
  )
  t.equal(
    says({ cache: { decorator: 'store' } }),
    'options.cache.decorator is not a known option: set options.decorators.cache'
  )
  t.equal(says({ rateLimit: './limits.json', cache: false }), 'accepted')
})

t.test('of variables of the environment that are not set only the database is missed', async t => {
  t.equal(says({ redis: undefined, rls: { secret: undefined } }), 'accepted')
  t.match(says({ database: undefined }), /^options\.database (?:is required|must be a URL)/)
  t.match(says({ database: { url: undefined } }), /^options\.database\.url must be a URL/)
})
