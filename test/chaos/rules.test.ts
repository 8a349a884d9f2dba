// Each rule of the checker on a history that was written by hand: what it finds, and what it lets
// pass.
import t from 'tap'

import { check } from './check.ts'
import type { Call, Fault, History } from './history.ts'

const call = (more: Partial<Call>): Call => ({
  operation: 'me',
  tenant: 'acme',
  slug: 'acme',
  process: 0,
  key: 'k1',
  sent: 10_000,
  done: 10_010,
  status: 200,
  body: { tenant: `id-${more.tenant ?? 'acme'}` },
  retryAfter: undefined,
  isAborted: false,
  ...more
})

const empty: History = {
  tenants: ['acme', 'globex'],
  limited: 'globex',
  processes: 1,
  bounds: {
    recoveryMs: 4_000,
    changeMs: 3_000,
    answerMs: 15_000,
    perMinute: 2,
    connections: { postgres: 10, redis: 4 }
  },
  calls: [],
  faults: [],
  changes: [],
  samples: [],
  connections: [],
  stored: new Map(),
  deaths: [],
  left: []
}
/** Both tenants are served in the end. */
const end = [call({ sent: 500_000, done: 500_010 }), call({ tenant: 'globex', sent: 500_000, done: 500_010 })]

/** The rules that a history breaks. */
function broken ({ calls = [], ...history }: Partial<History>): string[] {
  const all = check({ ...empty, ...history, calls: [...calls, ...end] })
  return [...all].filter(([, violations]) => violations.length > 0).map(([rule]) => rule)
}

const error = (status: number, code: string): Partial<Call> => ({ status, body: { code }, retryAfter: '1' })
const unavailable = error(503, 'FST_TENANCY_DATABASE_UNAVAILABLE')
const fault = (more: Partial<Fault>): Fault => ({ kind: 'cut postgres', begin: 9_000, end: 9_100, ...more })
const stored = (entries: Record<string, number>, legs: Record<string, number> = {}): History['stored'] =>
  new Map([['acme', {
    entries: new Map(Object.entries(entries)),
    legs: new Map(Object.entries(legs)),
    values: []
  }]])

t.test('a history without faults breaks no rule', async t => {
  t.same(broken({}), [])
})

t.test('foreign values are found in answers, in rows, and as a name', async t => {
  const rule = ['no foreign value']
  t.same(broken({ calls: [call({ operation: 'value', body: { value: 'globex:v1' } })] }), rule)
  t.same(broken({ calls: [call({ body: { tenant: 'id-globex' } })] }), rule)
  const rows = new Map([['acme', { entries: new Map(), legs: new Map(), values: ['globex:k1'] }]])
  t.same(broken({ stored: rows }), rule)
})

t.test('an acknowledged write is once there, another one at most once', async t => {
  const rule = ['every acknowledged write exactly once']
  const write = call({ operation: 'write', status: 201, body: {} })
  t.same(broken({ calls: [write], stored: stored({ k1: 1 }) }), [])
  t.same(broken({ calls: [write], stored: stored({}) }), rule)
  t.same(broken({ calls: [write], stored: stored({ k1: 2 }) }), rule)
  const lost = call({ operation: 'write', status: 0, isAborted: true })
  t.same(broken({ calls: [lost], stored: stored({ k1: 1 }) }), [])
  t.same(broken({ calls: [lost], stored: stored({ k1: 2 }) }), rule)
})

t.test('a transfer is whole, in the end and when it is seen', async t => {
  const rule = ['transactions whole']
  const transfer = call({ operation: 'transfer', status: 201, body: {} })
  t.same(broken({ calls: [transfer], stored: stored({}, { k1: 2 }) }), [])
  t.same(broken({ calls: [transfer], stored: stored({}, { k1: 1 }) }), rule)
  t.same(broken({ calls: [transfer] }), rule)
  const failing = call({ operation: 'failing transfer', ...error(409, 'EXPECTED') })
  t.same(broken({ calls: [failing], stored: stored({}, { k1: 2 }) }), rule)
  t.same(broken({ calls: [call({ operation: 'read', body: { legs: { k1: 1 } } })] }), rule)
})

t.test('a cached value belongs to a committed transfer', async t => {
  const staged = call({ operation: 'staged', body: { value: 'acme:k1' } })
  t.same(broken({ calls: [staged], stored: stored({}, { k1: 2 }) }), [])
  t.same(broken({ calls: [staged] }), ['nothing of a rolled-back transaction in the cache'])
})

t.test('more requests than the limit within a minute are found', async t => {
  const rule = ['limits never passed']
  const calls = [1, 2, 3].map(at => call({ tenant: 'globex', sent: at * 20_000, done: at * 20_000 + 5 }))
  t.same(broken({ calls }), rule)
  t.same(broken({ calls: calls.slice(1) }), [])
  t.same(broken({ calls, faults: [fault({ kind: 'freeze redis', begin: 30_000, end: 31_000 })] }), [])
  t.same(broken({ calls: [...calls, ...calls], faults: [fault({ kind: 'cut redis', begin: 30_000 })] }), rule)
})

t.test('a change that is not heard is found', async t => {
  const rule = ['changes of tenants heard in time']
  const suspend = { kind: 'suspend', tenant: 'acme', begin: 9_900, end: 9_950 } as const
  const resume = { kind: 'resume', tenant: 'acme', begin: 400_000, end: 400_001 } as const
  const changes = [suspend, resume]
  const write = call({ operation: 'write', status: 201, body: {} })
  t.same(broken({ changes, calls: [write], stored: stored({ k1: 1 }) }), rule, 'a write at once')
  t.same(broken({ changes, calls: [call({})] }), [], 'a read within its time')
  t.same(broken({ changes, calls: [call({ sent: 13_000, done: 13_005 })] }), rule)
  const refused = call({ ...error(403, 'FST_TENANCY_TENANT_SUSPENDED'), sent: 404_000, done: 404_005 })
  t.same(broken({ changes, calls: [refused] }), rule)
  const rename = [{ kind: 'rename', tenant: 'acme', slug: 'new', begin: 1, end: 2 }] as const
  t.same(broken({ changes: rename, calls: [call({})] }), rule, 'the old name')
})

t.test('an undocumented answer is found', async t => {
  const rule = 'only documented statuses'
  for (
    const answer of [error(400, 'X'), { status: 418 }, {
      ...error(429, 'FST_TENANCY_RATE_LIMITED'),
      retryAfter: undefined
    }]
  ) t.ok(broken({ calls: [call(answer)] }).includes(rule), JSON.stringify(answer))
  t.ok(broken({ calls: [call(error(500, 'FST_TENANCY_INTERNAL_ERROR'))] }).includes(rule))
  t.ok(broken({ calls: [call({ status: 0 })], faults: [fault({})] }).includes(rule))
  t.same(broken({ calls: [call({ status: 0 })], faults: [fault({ kind: 'kill' })] }), [])
  t.same(broken({ calls: [call({ status: 0, isAborted: true })] }), [])
})

t.test('service that does not come back is found', async t => {
  const rule = ['recovery bounded']
  t.same(broken({ calls: [call(unavailable)], faults: [fault({})] }), [])
  t.same(broken({ calls: [call(unavailable)] }), rule)
  t.same(broken({ calls: [call(unavailable)], faults: [fault({ process: 1 })] }), rule, 'of another process')
  t.same(broken({ calls: [call(unavailable)], faults: [fault({ begin: 1, end: 2 })] }), rule, 'long before')
  t.same(broken({ calls: [call({ done: 30_000 })] }), rule, 'a late answer')
  t.same(broken({ faults: [fault({ begin: 499_000, end: 499_001 })] }), rule, 'not served in the end')
  t.same(broken({ deaths: ['process 0 ended by itself with 1'] }), rule)
})

t.test('what grows is found', async t => {
  const rule = ['connections and heap do not grow']
  const sample = { process: 0, pid: 1, heap: 2 ** 24, handles: 20 }
  t.same(broken({ samples: [sample, { ...sample, heap: 2 ** 25 }] }), [])
  t.same(broken({ samples: [sample, { ...sample, heap: 2 ** 26 }] }), rule)
  t.same(broken({ samples: [sample, { ...sample, pid: 2, heap: 2 ** 26 }] }), [], 'another life')
  t.same(broken({ samples: [sample, { ...sample, handles: 50 }] }), rule)
  t.same(broken({ connections: [{ postgres: 11, redis: 1 }] }), rule)
  t.same(broken({ left: ['a backend is left'] }), rule)
})
