import { createHash } from 'node:crypto'
import t from 'tap'

import { addressKey, cacheChannel, installationKey, installationProblem, invalidationChannel, lookupKey,
  processesKey, roleName, tenantIdentifier, tenantKey, tenantKeyPrefix,
  type KeySpace } from '@fastify-tenancy/core/keys'

const spaces: readonly KeySpace[] = ['cache', 'cache-epoch', 'cache-tag', 'limit', 'limit-client',
  'limit-route', 'lock']

// A small seeded generator, so that a failure can be repeated.
function random (seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * below)
  }
}

t.test('INJ-15 of many (id, space, rest), no two give one key and none is a key of another kind', async t => {
  const next = random(17)
  const text = (alphabet: string, max: number): string =>
    Array.from({ length: 1 + next(max) }, () => alphabet[next(alphabet.length)]).join('')
  const made = new Map<string, string>()
  let collisions = 0
  const put = (key: string, ...parts: string[]): void => {
    const before = made.get(key)
    if (before !== undefined && before !== JSON.stringify(parts)) collisions++
    made.set(key, JSON.stringify(parts))
  }
  for (let i = 0; i < 20_000; i++) {
    const [id, rest] = [text('aA0-_', 4), text('a:{}-*', 6)]
    const space = spaces[next(spaces.length)] ?? 'cache'
    put(tenantKey(id, space, rest), 'tenant', id, space, rest)
    const name = text('a:.-', 5)
    put(lookupKey('slug', name), 'slug', name)
    put(lookupKey('domain', name), 'domain', name)
    put(lookupKey('id', name), 'id', name)
    put(addressKey(name, rest), 'address', name, rest)
  }
  for (const [name, key] of Object.entries({ processesKey, invalidationChannel, cacheChannel }))
    put(key, name)
  t.equal(collisions, 0)
  t.ok(made.size > 20_000, 'control: the generator made different keys')
})

t.test('all keys of a tenant share one Cluster slot, and no key part can be its hash tag', async t => {
  for (const space of spaces) t.match(tenantKey('acme', space, '{globex}'), /^[^{}]*\{acme\}/)
  for (const bad of ['{', '}', 'a}b', '{globex}']) {
    t.throws(() => lookupKey('slug', bad), TypeError)
    t.throws(() => addressKey(bad), TypeError)
  }
  t.equal(addressKey('192.0.2.1'), 'tenancy:address:{192.0.2.1}:')
})

t.test("EDG-01 two installations share no key, and the hash tag stays the tenant's", async t => {
  const keys = [...spaces.map(space => tenantKey('acme', space, 'a:{b}')), lookupKey('slug', 'acme'),
    lookupKey('id', 'acme'), addressKey('192.0.2.1'), processesKey, invalidationChannel, cacheChannel]
  const names = ['a', 'slug', 'a-b', 'acme', 'processes', '1f3a0c22-0000-4000-8000-000000000000']
  const made = names.flatMap(name => keys.map(key => installationKey(name, key)))
  t.equal(new Set([...made, ...keys]).size, made.length + keys.length)
  for (const name of names) {
    t.equal(installationProblem(name), undefined)
    t.match(
      installationKey(name, tenantKey('acme', 'cache', '{x}')),
      new RegExp(`^tenancy:${name}:\\{acme\\}:cache:`)
    )
    t.ok(
      installationKey(name, tenantKey('acme', 'cache', 'x')).startsWith(
        installationKey(name, tenantKeyPrefix('acme'))
      )
    )
  }
  for (const bad of ['', 'a:b', '{a}', 'a b', 'a*', 'x'.repeat(64), 'ä', 7, undefined])
    t.ok(installationProblem(bad), String(bad))
  t.throws(() => installationKey('a', 'greeting'), TypeError)
})

t.test('an id that looks like the hash of another does not get its identifier', async t => {
  const long = 'x'.repeat(60)
  const digest = createHash('sha256').update(long).digest('hex')
  for (let length = 1; length <= 56; length++)
    t.not(tenantIdentifier(digest.slice(0, length)), tenantIdentifier(long))
})

t.test("a role of the suite is never named like a tenant's, and two databases share no role", async t => {
  const roles = ['app', 'owner', 'system', 'global']
  for (const role of roles) t.match(roleName(role, 'db'), /^tenancy_/)
  t.not(roleName('app', 'one'), roleName('app', 'two'))
  t.ok(roles.every(role => Buffer.byteLength(roleName(role, 'x'.repeat(63))) <= 63))
})
