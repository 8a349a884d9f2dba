import t from 'tap'
import * as v from 'valibot'

import { checkOptions, duration, positiveInteger } from '@fastify-tenancy/core'

const schema = v.strictObject({ ttl: v.optional(duration, '5m'), max: v.optional(positiveInteger, 10), url: v.optional(v.number('must be a number')), secret: v.optional(v.number('must be a number')) })

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
  t.equal(says({ ttl: 'abc' }), "options.ttl must be a duration with a unit, such as '250ms', '30s' or '5m', got 'abc'")
  for (const bad of [30, '30', '', '0s', '-1s', Number.NaN, null, '1 s', '5y']) t.match(says({ ttl: bad }), /^options\.ttl must be a duration/)
  for (const bad of ['5', 0, -1, 1.5, Number.NaN, Infinity, null, '']) t.match(says({ max: bad }), /^options\.max must be a positive integer/)
  t.equal(says({ tll: '5m' }), 'options.tll is not a known option: remove it or mend its name')
  t.match(says('x'), /^options must be/)
})

t.test('DBT-07 a message never shows a password or a secret', async t => {
  t.throws(() => checkOptions(schema, { url: 'postgres://u:hunter2@h/d' }), { message: "options.url must be a number, got 'postgres://***@h/d'" })
  for (const url of ['postgres://u:a b@hunter2@h/d', 'mysql://h/d?password=hunter2', 'h:6379:hunter2', ':hunter2@h:6379']) {
    t.throws(() => checkOptions(schema, { url }), { message: /^(?!.*hunter2)/ }, url)
  }
  t.throws(() => checkOptions(schema, { secret: 'hunter2' }), { message: 'options.secret must be a number, got a string of 7 characters' })
})
