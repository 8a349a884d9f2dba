import t from 'tap'

import { toTenant, idProblem, slugProblem } from '@fastify-tenancy/core'
import { tenantIdentifier, tenantKey } from '@fastify-tenancy/core/keys'

t.test('a tenant is frozen to its last property, dates too', async t => {
  const tenant = toTenant({ id: 'a', slug: 'acme', settings: { theme: { dark: true } } })
  t.throws(() => Object.assign(tenant, { id: 'b' }), TypeError)
  t.throws(() => Object.assign(tenant.settings.theme as object, { dark: false }), TypeError)
  t.throws(() => (tenant.domains as string[]).push('evil.example'), TypeError)
  t.throws(() => tenant.createdAt.setTime(0), TypeError)
})

t.test('what the caller gave is not changed and not kept', async t => {
  const settings = { theme: 'dark' }
  const tenant = toTenant({ id: 'a', slug: 'acme', settings })
  settings.theme = 'light'
  t.equal(tenant.settings.theme, 'dark')
})

t.test('RES-14 SLG-01 INJ-15 the slug rule refuses what is not one plain label', async t => {
  for (
    const bad of ['', 'A', 'Acme', '-a', 'a-', 'a_b', 'a.b', '123', 'ab--cd', 'xn--bcher-kva', 'a'.repeat(64),
      '0190f2a4-0000-7000-8000-000000000000', 'a"; drop schema b; --', "a'b", 'a\\', 'a\0', 'a b', 'ａ',
      'www', 'api', 7, null]
  ) {
    t.ok(slugProblem(bad), JSON.stringify(bad))
  }
  for (
    const good of ['a', 'acme', 'a1', '1a', 'a-b', 'a'.repeat(63), '__proto__'.replaceAll('_', 'x'),
      'constructor', 'abc--d']
  ) t.equal(slugProblem(good), undefined, good)
})

t.test('INJ-15 an id has no character that means something in a key or an identifier', async t => {
  for (
    const bad of ['', 'a b', 'a:b', 'a*', 'a?', 'a{b}', 'a"', "a'", 'a\\', 'a\0', 'ü', 'a'.repeat(64), 7,
      null, undefined]
  ) {
    t.ok(idProblem(bad), JSON.stringify(bad))
    t.throws(() => tenantKey(bad as string, 'cache', 'x'), TypeError)
    t.throws(() => tenantIdentifier(bad as string), TypeError)
  }
})

t.test('no two ids share an identifier or a key, however long', async t => {
  const ids = ['a', 'A', 'a_b', 'a-b', 'x'.repeat(56), 'x'.repeat(57), 'x'.repeat(62) + 'y',
    'x'.repeat(62) + 'z', 'tenant_a']
  const names = ids.map(tenantIdentifier)
  t.equal(new Set(names).size, ids.length)
  t.ok(names.every(name => Buffer.byteLength(name) <= 63))
  t.not(tenantKey('a', 'cache', 'b:c'), tenantKey('a', 'cache', 'b') + 'c')
})
