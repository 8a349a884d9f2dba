import t from 'tap'

import { resolveRouteTenancy } from '@fastify-tenancy/core/scope'

const defaults = {
  mode: 'required',
  transaction: false,
  cost: 1,
  statuses: ['active'],
  agreement: true,
  statementTimeout: undefined
}

t.test('a route that says nothing needs an active tenant and costs one', async t => {
  t.same(resolveRouteTenancy(undefined), defaults)
  t.same(resolveRouteTenancy({}), defaults)
  t.same(resolveRouteTenancy('required'), defaults)
})

t.test('a mode alone is the short form', async t => {
  for (const mode of ['optional', 'off']) {
    t.same(resolveRouteTenancy(mode), { ...defaults, mode })
    t.same(resolveRouteTenancy({ mode }), { ...defaults, mode })
  }
})

t.test("a route's options are normalized and frozen, its own object is unchanged", async t => {
  const given = {
    transaction: true,
    cost: 0,
    statuses: ['active', 'suspended'],
    agreement: false,
    statementTimeout: '5s'
  }
  const route = resolveRouteTenancy(given)
  t.same(route, { ...defaults, ...given, statementTimeout: 5_000 })
  t.ok(Object.isFrozen(route) && Object.isFrozen(route.statuses))
  t.notOk(Object.isFrozen(given.statuses))
  t.equal(given.statementTimeout, '5s')
})

t.test('what means nothing is refused by name: no route falls back to a laxer rule', async t => {
  const wrong: [unknown, RegExp][] = [
    ['none', /^config\.tenancy must be one of 'required', 'optional', 'off', got 'none'$/],
    ['', /^config\.tenancy must/],
    [false, /^config\.tenancy must be 'required', 'optional', 'off' or an object, got false$/],
    [null, /^config\.tenancy must/],
    [[], /^config\.tenancy must be 'required', 'optional', 'off' or an object, got an array$/],
    [{ mode: 'offf' }, /^config\.tenancy\.mode must be one of/],
    [{ Mode: 'off' }, /^config\.tenancy\.Mode is not a known option/],
    [{ cost: -1 }, /^config\.tenancy\.cost must be 0 or a positive integer, got -1$/],
    [{ cost: '2' }, /^config\.tenancy\.cost must/],
    [{ cost: Number.NaN }, /^config\.tenancy\.cost must/],
    [{ statuses: [] }, /^config\.tenancy\.statuses must name at least one status/],
    [{ statuses: ['gone'] }, /^config\.tenancy\.statuses\.0 must be one of/],
    [{ statuses: 'active' }, /^config\.tenancy\.statuses must be a list/],
    [{ transaction: 'yes' }, /^config\.tenancy\.transaction must be true or false, got 'yes'$/],
    [{ agreement: 0 }, /^config\.tenancy\.agreement must be true or false/],
    [{ statementTimeout: 5 }, /^config\.tenancy\.statementTimeout must be a duration/]
  ]
  for (const [given, message] of wrong)
    t.throws(
      () => resolveRouteTenancy(given),
      { code: 'FST_TENANCY_OPTION_INVALID', message },
      JSON.stringify(given)
    )
  t.throws(() => resolveRouteTenancy('none', 'GET /x config.tenancy'), {
    message: /^GET \/x config\.tenancy must/
  })
})
