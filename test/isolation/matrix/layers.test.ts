// The controls of the matrix, and each layer with the others gone.
import assert from 'node:assert/strict'
import t from 'tap'

import { secret } from '../../strategies/strategy-fixture.ts'
import { isLong } from '../../support/long.ts'
import { anywhere, type Disturb } from './disturbances.ts'
import { naivePlace } from './naive.ts'
import { place, type PlaceOptions } from './place.ts'
import { afterFailedContexts, look, problemsOf, type Problem } from './run.ts'
import { kinds } from './statements.ts'
import { others, policies } from './strategies.ts'

const leak = /was shown|instead of/
const reuse = 'a connection on which the other ran the same'
const errors = ['after an error', 'after an error in a transaction']

function pick (...moments: readonly string[]): Record<string, Disturb> {
  return Object.fromEntries(moments.map(moment => [moment, anywhere[moment] ?? assert.fail(moment)]))
}

function leaking (problems: readonly Problem[]): string[] {
  return [...new Set(problems.filter(({ text }) => leak.test(text)).map(({ moment }) => moment))].toSorted()
}

t.test('control: without policies and tripwire every statement on a table goes red', async t => {
  const open = await place(t, { withoutPolicies: true, tripwire: false })
  const [a] = open.tenants
  const { client } = open.adminOf(a) ?? assert.fail()
  for (const [name, kind] of Object.entries(kinds).filter(([, { isTableless }]) => !isTableless)) {
    t.match(await look(open, a, kind), leak, name)
    await client.query('truncate notes')
    await client.query(
      "insert into notes (tenant_id, n, body) select tenant, n, tenant || ':' || n from " +
        "unnest(array['acme', 'globex']) tenant, generate_series(1, 3) n"
    )
  }
})

t.test('control: a pool that sets the tenant for the session goes red at every moment', async t => {
  // A plain pool has no cursors: without streams.
  const moments = pick(reuse, ...errors)
  t.same(leaking(await problemsOf(await naivePlace(t, 'never'), moments)), Object.keys(moments).toSorted())
})

t.test('control: a pool that takes the tenant back after success goes red after errors only', async t => {
  t.same(leaking(await problemsOf(await naivePlace(t, 'after success'), pick(reuse, ...errors))), errors)
})

t.test('TRP-01 with the policies dropped the tripwire stops every select of the tenant column', async t => {
  const unprotected = await place(t, { rls: { secret }, withoutPolicies: true })
  const [a, b] = unprotected.tenants
  for (const [name, kind] of Object.entries(kinds).filter(([, { isRead }]) => isRead)) {
    for (const tenant of [a, b, a])
      t.match(await look(unprotected, tenant, kind), /^FST_TENANCY_ISOLATION_BREACH/, name)
  }
})

const alone: Readonly<Record<string, PlaceOptions>> = {
  'the policies alone': { rls: { secret }, tripwire: false },
  'the filter alone': { rls: { filter: true }, tripwire: false, withoutPolicies: true }
}

for (const [name, options] of Object.entries(alone)) {
  t.test(`${name}: its tenant's rows only, also after errors and on a new connection`, async t => {
    t.same(await problemsOf(await place(t, options), pick(reuse, ...errors, 'a connection that is new')), [])
  })
}

const places = Object.entries({ ...policies, ...others })
for (const [name, options] of isLong ? places : places.filter((_, index) => index % 3 === 0)) {
  t.test(`POOL-09 ${name}: after a hundred failed contexts one connection serves both tenants`, async t => {
    t.same(await afterFailedContexts(await place(t, options)), [])
  })
}
