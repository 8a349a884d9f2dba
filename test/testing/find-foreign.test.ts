import t from 'tap'

import { assertOwn, tagged } from '@fastify-tenancy/testing'

const tenants = ['acme', 'globex']
const check = (value: unknown): number =>
  assertOwn(value, { tenant: 'acme', tenants, where: 'GET /projects' })

t.test("another tenant's value is named with its place", async t => {
  t.throws(() => check({ projects: [{ name: tagged('acme', 1) }, { name: tagged('globex', 17) }] }), {
    name: 'AssertionError',
    actual: 'globex:17',
    message: 'acme was shown globex:17 at GET /projects: .projects[1].name'
  })
  t.throws(() => check('globex:1'), { message: 'acme was shown globex:1 at GET /projects: the value itself' })
})

t.test('a leak is found wherever it hides', async t => {
  const error = new Error('duplicate', { cause: { detail: 'Key (name)=(globex:1) already exists.' } })
  const cycle: Record<string, unknown> = {}
  cycle.self = [cycle, { deep: ['globex:2'] }]
  const hidden: Record<string, unknown> = {
    'a line of a log': '{"level":30,"tenant":"a","msg":"read globex:1"}',
    'a key of Redis': ['tenancy:{a}:cache:globex:1'],
    'percent-encoded': '/projects/globex%3A1',
    'upper case': 'GLOBEX:1',
    'a name of a property': { 'globex:1': 0 },
    'a symbol': { [Symbol('globex:1')]: 0 },
    'the cause of an error': error,
    'the message of an error': new Error('globex:1'),
    'a value that is not enumerable': Object.defineProperty({}, 'x', { value: 'globex:1' }),
    'a map': new Map([['k', 'globex:1']]),
    'a key of a map': new Map([['globex:1', 'v']]),
    'a set': new Set(['globex:1']),
    'a buffer': { body: Buffer.from('…globex:1…') },
    'an array buffer': new TextEncoder().encode('globex:1').buffer,
    'a getter': {
      get x () {
        return 'globex:1'
      }
    },
    'an error of a getter': {
      get x () {
        throw new Error('globex:1')
      }
    },
    'a cycle': cycle
  }
  for (const [where, value] of Object.entries(hidden))
    t.throws(() => check(value), { name: 'AssertionError' }, where)
})

t.test("a tenant's own values are counted and others' names alone are no leak", async t => {
  t.equal(
    check(['acme:1', { note: 'acme:2 and acme:3' }, 'globex', 'globex is a customer: 17', 7, null,
      undefined]),
    2
  )
  t.equal(assertOwn('notglobex:1 not-globex:1', { tenant: 'acme', tenants }), 0, 'part of a longer name')
  t.equal(check([]), 0)
})

t.test('a check that could not fail is refused', async t => {
  t.throws(() => assertOwn('x', { tenant: 'acme', tenants: ['acme'] }), TypeError)
  t.throws(() => assertOwn('x', { tenant: 'acme', tenants: ['.*'] }), {
    message: "a tenant of tagged values must be named by its slug or id, got '.*'"
  })
})
