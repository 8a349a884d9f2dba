import { setImmediate as tick } from 'node:timers/promises'
import t, { type Test } from 'tap'

import { FairQueue, type FairQueueSettings } from '../../packages/database/src/connection/fair-queue.ts'

const settings = { slots: 4, share: 2, maxWaiting: 100, maxWait: 60_000 }

function fairQueue (t: Test, changes: Partial<FairQueueSettings> = {}): FairQueue {
  const queue = new FairQueue({ ...settings, ...changes })
  t.teardown(() => queue.close())
  return queue
}

/** Asks for a slot and keeps the order in which slots were given. */
function asker (queue: FairQueue): { order: string[]; ask: (tenant: string) => Promise<() => void> } {
  const order: string[] = []
  return {
    order,
    ask: async tenant => {
      const release = await queue.acquire(tenant)
      order.push(tenant)
      return release
    }
  }
}

t.test('PGF-03 a tenant alone gets all slots but one, and a second tenant is served at once', async t => {
  const queue = fairQueue(t)
  const { order, ask } = asker(queue)
  for (let i = 0; i < 20; i++) ask('whale').catch(() => {})
  await tick()
  t.same(order, ['whale', 'whale', 'whale'])
  await ask('minnow')
  t.same(order.at(-1), 'minnow')
})

t.test('who waits is served by turns of tenants, not in order of arrival', async t => {
  const queue = fairQueue(t, { slots: 1, share: 1 })
  const { order, ask } = asker(queue)
  const releases = [ask('a'), ask('a'), ask('a'), ask('a'), ask('b'), ask('c'), ask('b')]
  for (const _ of releases) {
    await tick()
    const [at] = [order.length - 1]
    const tenant = order[at]
    const index = ['a', 'a', 'a', 'a', 'b', 'c', 'b'].map((name, i) =>
      [name, i] as const
    ).filter(([name]) => name === tenant)[
      order.filter(name =>
        name === tenant
      ).length - 1
    ]?.[1] ?? 0
    ;(await releases[index])?.()
  }
  t.same(order, ['a', 'a', 'b', 'c', 'a', 'b', 'a'])
})

t.test('while others wait a tenant gets no more than its share', async t => {
  const queue = fairQueue(t)
  const { order, ask } = asker(queue)
  const whales = Array.from({ length: 6 }, () => ask('whale'))
  for (const whale of whales) whale.catch(() => {})
  await tick()
  const minnow = await ask('minnow')
  ask('minnow').catch(() => {})
  await tick()
  ;(await whales[0])?.()
  await tick()
  t.same(order, ['whale', 'whale', 'whale', 'minnow', 'minnow'], 'the slot that came free goes to the other')
  minnow()
  await tick()
  t.equal(
    order.filter(name => name === 'whale').length,
    4,
    'alone among those who wait, it may have more again'
  )
})

t.test('PGF-04 too many callers of one tenant are refused at once, with a retry-after', async t => {
  const queue = fairQueue(t, { slots: 1, share: 1, maxWaiting: 2 })
  await queue.acquire('a')
  queue.acquire('a').catch(() => {})
  queue.acquire('a').catch(() => {})
  await t.rejects(queue.acquire('a'), { code: 'FST_TENANCY_DATABASE_BUSY', statusCode: 503, retryAfter: 1 })
  t.equal(queue.waiting, 2)
  queue.acquire('b').catch(() => {})
  t.equal(queue.waiting, 3)
})

t.test('a wait ends after its bound, and leaves nothing behind', async t => {
  const queue = fairQueue(t, { slots: 1, share: 1, maxWait: 5 })
  const release = await queue.acquire('a')
  await t.rejects(queue.acquire('b'), { code: 'FST_TENANCY_DATABASE_BUSY' })
  t.equal(queue.waiting, 0)
  release()
  release()
  const again = await queue.acquire('b')
  again()
  t.ok(await queue.acquire('a'), 'a slot given back twice is one slot')
})

t.test('a caller that gives up lets another tenant have more than its share', async t => {
  const queue = fairQueue(t, { share: 1, maxWait: 20 })
  const { order, ask } = asker(queue)
  const [first] = [await ask('a'), await ask('a'), await ask('b'), await ask('b')]
  const leaving = t.rejects(ask('b'), { code: 'FST_TENANCY_DATABASE_BUSY' })
  const staying = ask('a')
  first()
  await tick()
  t.equal(order.length, 4, 'both have their share, so neither gets the free slot while both wait')
  await leaving
  await staying
  t.same(order.at(-1), 'a', 'no slot was released in between')
})

t.test('a thousand callers of ten tenants are all served, never more at once than slots', async t => {
  const queue = fairQueue(t)
  let inside = 0
  let most = 0
  await Promise.all(Array.from({ length: 1_000 }, async (_, n) => {
    const release = await queue.acquire(`t${n % 10}`)
    most = Math.max(most, ++inside)
    await tick()
    inside--
    release()
  }))
  t.equal(most, 4)
  t.equal(queue.waiting, 0)
})
