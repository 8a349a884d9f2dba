import t from 'tap'
import * as v from 'valibot'

import { checkOptions, duration, positiveInteger, timeout } from '@fastify-tenancy/core/options'

const schema = v.strictObject({
  ttl: v.optional(duration, '5m'),
  max: v.optional(positiveInteger, 10),
  url: v.optional(v.number('must be a number')),
  secret: v.optional(v.number('must be a number'))
})

t.test('defaults are filled in, durations become milliseconds, and the result is frozen', async t => {
  const given = { ttl: '250ms' }
  const options = checkOptions(schema, given)
  t.same(options, { ttl: 250, max: 10 })
  t.ok(Object.isFrozen(options))
  t.same(given, { ttl: '250ms' })
})

t.test('a wrong option is one sentence with its name, what was expected and what came', async t => {
  const says = (input: unknown): string => {
    try {
      checkOptions(schema, input)
    } catch (error) {
      t.match(error, { code: 'FST_TENANCY_OPTION_INVALID' })
      return (error as Error).message
    }
    return 'accepted'
  }
  t.equal(
    says({ ttl: 'abc' }),
    "options.ttl must be a duration with a unit, such as '250ms', '30s' or '5m', got 'abc'"
  )
  for (const bad of [30, '30', '', '0s', '-1s', Number.NaN, null, '1 s', '5y'])
    t.match(says({ ttl: bad }), /^options\.ttl must be a duration/)
  for (const bad of ['5', 0, -1, 1.5, Number.NaN, Infinity, null, ''])
    t.match(says({ max: bad }), /^options\.max must be a positive integer/)
  t.equal(says({ tll: '5m' }), 'options.tll is not a known option: remove it or mend its name')
  t.equal(says('x'), "options must be an object, got 'x'")
})

t.test('a duration that would be none at all, or longer than what waits can count, is refused', async t => {
  const durations = v.strictObject({ ttl: v.optional(duration, '5m'), wait: v.optional(timeout, '5s') })
  const says = (input: unknown): string => {
    try {
      checkOptions(durations, input)
    } catch (error) {
      t.match(error, { code: 'FST_TENANCY_OPTION_INVALID' })
      return (error as Error).message
    }
    return 'accepted'
  }
  t.match(
    says({ ttl: '0.4ms' }),
    /must be a duration with a unit.+ got '0\.4ms'/,
    'PostgreSQL would take it for no timeout'
  )
  t.match(says({ ttl: `${'9'.repeat(200)}d` }), /must be a duration/)
  t.match(says({ ttl: '36501d' }), /must be a duration of at most 100 years, got '36501d'/)
  t.match(
    says({ wait: '25d' }),
    /must be a duration of at most 24 days, got '25d'/,
    'a timer would fire at once'
  )
  t.same(checkOptions(durations, { ttl: '30d', wait: '24d' }), { ttl: 2_592_000_000, wait: 2_073_600_000 })
  t.same(checkOptions(durations, { ttl: '1.5ms', wait: '0.5s' }), { ttl: 2, wait: 500 }, 'whole milliseconds')
})

t.test('DBT-07 a message never shows a password or a secret', async t => {
  t.throws(() => checkOptions(schema, { url: 'postgres://u:hunter2@h/d' }), {
    message: "options.url must be a number, got 'postgres://***@h/d'"
  })
  for (
    const url of ['postgres://u:a b@hunter2@h/d', 'mysql://h/d?password=hunter2', 'h:6379:hunter2',
      ':hunter2@h:6379']
  ) {
    t.throws(() => checkOptions(schema, { url }), { message: /^(?!.*hunter2)/ }, url)
  }
  t.throws(() => checkOptions(schema, { secret: 'hunter2' }), {
    message: 'options.secret must be a number, got a string of 7 characters'
  })
})

t.test('an array instead of an object is refused at any depth', async t => {
  const inner = v.strictObject({ ttl: v.optional(duration, '5m') }, 'must be an object')
  const nested = v.pipe(
    v.strictObject({
      cache: v.optional(inner, {}),
      local: v.optional(v.union([v.literal(false), inner], 'must be false or an object with ttl'), false),
      tables: v.optional(
        v.pipe(
          v.union([v.array(v.string()), v.record(v.string(), v.string())]),
          v.transform(given =>
            Array.isArray(given) ? Object.fromEntries(given.map(name => [name, 'id'])) : given
          )
        ),
        {}
      ),
      deep: v.optional(
        v.union(
          [v.string(), v.strictObject({ inner: v.optional(inner, {}) })],
          'must be a string or an object'
        )
      ),
      names: v.optional(v.record(v.string(), v.string(), 'must be an object'))
    }, 'must be an object'),
    v.transform(options => options)
  )
  t.throws(() => checkOptions(nested, []), { message: 'options must be an object, got an array' })
  t.throws(() => checkOptions(nested, { cache: [] }), {
    message: 'options.cache must be an object, got an array'
  })
  t.throws(() => checkOptions(nested, { local: [] }), {
    message: 'options.local must be false or an object with ttl, got an array'
  })
  t.throws(() => checkOptions(nested, { deep: [] }), {
    message: 'options.deep must be a string or an object, got an array'
  })
  t.throws(() => checkOptions(nested, { deep: { inner: [] } }), {
    message: 'options.deep.inner must be an object, got an array'
  })
  t.throws(() => checkOptions(nested, { names: [] }), {
    message: 'options.names must be an object, got an array'
  })
  t.same(checkOptions(nested, { tables: ['projects'], local: {}, deep: { inner: {} } }), {
    cache: { ttl: 300_000 },
    local: { ttl: 300_000 },
    tables: { projects: 'id' },
    deep: { inner: { ttl: 300_000 } }
  })
})
