// EDG-15: what many waiters cost, in visited elements and not by a clock.
import t from 'tap'

import { FairQueue } from '../../packages/database/src/connection/fair-queue.ts'
import { stepsOf } from '../support/steps.ts'

/** Every waiter is of another tenant, and none gets a slot. */
async function timeOut (waiters: number): Promise<void> {
  const queue = new FairQueue({ slots: 2, share: 1, maxWaiting: 100, maxWait: 1 })
  const held = [await queue.acquire('a'), await queue.acquire('b')]
  const ends = await Promise.allSettled(
    Array.from({ length: waiters }, (_, at) => queue.acquire(`tenant-${at}`))
  )
  if (!ends.every(({ status }) => status === 'rejected')) throw new Error('a waiter got a slot')
  for (const release of held) release()
}

/** Every waiter is of another tenant, and each gets a slot in turn. */
async function serve (waiters: number): Promise<void> {
  const queue = new FairQueue({ slots: 2, share: 1, maxWaiting: 100, maxWait: 60_000 })
  const held = [await queue.acquire('a'), await queue.acquire('b')]
  const waits = Array.from({ length: waiters }, async (_, at) => {
    ;(await queue.acquire(`tenant-${at}`))()
  })
  for (const release of held) release()
  await Promise.all(waits)
}

/** All waiters are of one tenant, and none gets a slot. */
async function timeOutOfOne (waiters: number): Promise<void> {
  const queue = new FairQueue({ slots: 1, share: 1, maxWaiting: waiters, maxWait: 1 })
  const release = await queue.acquire('a')
  await Promise.allSettled(Array.from({ length: waiters }, () => queue.acquire('a')))
  release()
}

/** Some tenants hold their share, so that each waiter in turn is looked at while slots are free. */
async function waitForShares (waiters: number): Promise<void> {
  const queue = new FairQueue({ slots: 4, share: 1, maxWaiting: waiters, maxWait: 60_000 })
  const held = await Promise.all(['a', 'b', 'c'].map(tenant => queue.acquire(tenant)))
  const waits = ['a', 'b', 'c'].flatMap(tenant =>
    Array.from({ length: waiters / 3 }, async () => {
      ;(await queue.acquire(tenant))()
    })
  )
  for (const release of held) release()
  await Promise.all(waits)
}

const cases = {
  'of as many tenants time out': timeOut,
  'of as many tenants are served': serve,
  'of one tenant time out': timeOutOfOne,
  'of tenants at their share are served': waitForShares
}

for (const [name, work] of Object.entries(cases)) {
  t.test(`EDG-15 16,000 waiters ${name}: at most five times what 4,000 cost`, async t => {
    const few = await stepsOf(() => work(4_000))
    const many = await stepsOf(() => work(16_000))
    t.ok(few > 4_000, 'the control: each waiter is counted')
    t.ok(many <= 5 * few, `${many} steps for 16,000, ${few} for 4,000`)
  })
}
