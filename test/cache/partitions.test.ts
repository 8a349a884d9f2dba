// Memory of the process: bounded in total, and fair to each tenant.
import t from 'tap'

import { Partitions, type CachedItem } from '../../packages/cache/src/partitions.ts'

import { appWith, cacheOf } from './stub.ts'

const mebibyte = 1_048_576
const item = (size: number, expiresAt = Infinity): CachedItem => ({ size, expiresAt })
const made = (maxBytes: number, now = () => 0): Partitions<CachedItem, object> =>
  new Partitions(maxBytes, () => ({}), now)

t.test('one tenant has an eighth at most, its oldest unused items going first', async t => {
  const memory = made(8 * mebibyte)
  for (let at = 0; at < 20_000; at++) memory.set('greedy', `k${at}`, item(1_000))
  t.ok(memory.bytes < 1.1 * mebibyte, `${memory.bytes} bytes`)
  t.equal(memory.get('greedy', 'k0'), undefined)
  t.ok(memory.get('greedy', 'k19999'))
  memory.set('greedy', 'huge', item(2 * mebibyte))
  t.equal(memory.get('greedy', 'huge'), undefined, 'what is larger than that is not kept')
  t.ok(memory.get('greedy', 'k19999'), 'and pushes nothing out')
})

t.test('small tenants keep their entries, however much a few others write', async t => {
  const memory = made(8 * mebibyte)
  const small = Array.from({ length: 100 }, (_, at) => `small${at}`)
  for (const tenant of small) for (let at = 0; at < 10; at++) memory.set(tenant, `k${at}`, item(1_000))
  for (let at = 0; at < 20_000; at++)
    for (const tenant of ['g1', 'g2', 'g3', 'g4', 'g5', 'g6', 'g7', 'g8', 'g9']) {
      memory.set(tenant, `k${at}`, item(1_000))
      if (at % 100 === 0) {
        for (const other of small) memory.get(other, 'k0')
      }
    }
  t.ok(memory.bytes <= 8 * mebibyte)
  t.ok(
    small.every(tenant => Array.from({ length: 10 }, (_, at) => memory.get(tenant, `k${at}`)).every(Boolean))
  )
})

t.test('a hundred thousand tenants stay within the bound, the unused ones going first', async t => {
  const memory = made(8 * mebibyte)
  for (let at = 0; at < 100_000; at++) {
    memory.set(`t${at}`, 'k', item(100))
    memory.get('used', 'k')
    if (at === 0) memory.set('used', 'k', item(100))
  }
  t.ok(memory.bytes <= 8 * mebibyte)
  t.ok(memory.tenants < 2_000, `${memory.tenants} tenants`)
  t.ok(memory.get('used', 'k'))
  t.equal(memory.get('t0', 'k'), undefined)
  t.ok(memory.get('t99999', 'k'))
})

t.test('the count of bytes is right after every change', async t => {
  let now = 0
  const memory = made(mebibyte, () => now)
  memory.set('a', 'k', item(1_000))
  const one = memory.bytes
  memory.set('a', 'k', item(1_000))
  t.equal(memory.bytes, one, 'replaced')
  memory.set('a', 'j', item(500, 10))
  memory.delete('a', 'k')
  t.equal(memory.bytes, one - 500)
  now = 10
  t.equal(memory.get('a', 'j'), undefined, 'past its life')
  memory.drop('a')
  t.equal(memory.bytes, 0)
  memory.set('b', 'k', item(1))
  memory.clear()
  t.equal(memory.bytes, 0)
  t.equal(memory.tenants, 0)
  t.equal(memory.get('b', 'k'), undefined)
})

t.test('without Redis a tenant that fills the memory leaves the others their values', async t => {
  const app = await appWith({ maxBytes: 2 * mebibyte })
  t.teardown(() => app.close())
  await cacheOf(app, 'small').set('k', 'kept')
  const greedy = cacheOf(app, 'greedy')
  for (let at = 0; at < 1_000; at++) await greedy.set(`k${at}`, 'x'.repeat(10_000))
  t.equal(await cacheOf(app, 'small').get('k'), 'kept')
  t.equal(await greedy.get('k0'), undefined)
})
