import { createHash } from 'node:crypto'
import t from 'tap'

import { addressKey, cacheChannel, invalidationChannel, lookupKey, processesKey, roleName, tenantIdentifier, tenantKey, type KeySpace } from '@fastify-tenancy/core'

const spaces: readonly KeySpace[] = ['cache', 'cache-epoch', 'cache-tag', 'limit', 'limit-client', 'limit-route', 'lock']

// A small generator with a seed, so that a failure can be run again.
function random (seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor(state / 2 ** 32 * below)
  }
}

t.test('INJ-15 of many (id, space, rest), no two give one key and none is a key of another kind', async t => {
  const next = random(17)
  const text = (alphabet: string, max: number): string => Array.from({ length: 1 + next(max) }, () => alphabet[next(alphabet.length)]).join('')
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
  for (const [name, key] of Object.entries({ processesKey, invalidationChannel, cacheChannel })) put(key, name)
  t.equal(collisions, 0)
  t.ok(made.size > 20_000, 'control: the generator made different keys')
})

t.test('all keys of a tenant share one Cluster slot and no other part of a key can be taken for the hash tag', async t => {
  for (const space of spaces) t.match(tenantKey('acme', space, '{globex}'), /^[^{}]*\{acme\}/)
  for (const bad of ['{', '}', 'a}b', '{globex}']) {
    t.throws(() => lookupKey('slug', bad), TypeError)
    t.throws(() => addressKey(bad), TypeError)
  }
})

t.test('an id that looks like the hash of another does not get its identifier', async t => {
  const long = 'x'.repeat(60)
  const digest = createHash('sha256').update(long).digest('hex')
  for (let length = 1; length <= 56; length++) t.not(tenantIdentifier(digest.slice(0, length)), tenantIdentifier(long))
})

t.test("a role of the suite is never named like a tenant's, and two databases share no role", async t => {
  const roles = ['app', 'owner', 'system', 'global']
  for (const role of roles) t.match(roleName(role, 'db'), /^tenancy_/)
  t.not(roleName('app', 'one'), roleName('app', 'two'))
  t.ok(roles.every(role => Buffer.byteLength(roleName(role, 'x'.repeat(63))) <= 63))
})
