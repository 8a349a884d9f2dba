// When requests of one tick that share a counter are sent.
import { setImmediate } from 'node:timers/promises'
import t from 'tap'

import { BatchedConsumes } from '../../packages/rate-limit/src/batched-consumes.ts'
import type { Quota, SharedDecision } from '../../packages/rate-limit/src/quota.ts'
import { minute } from '../../packages/rate-limit/src/window.ts'

const quotas: Quota[] = [{ key: '{a}:rpm', name: 'rpm', limit: 100, shape: minute, smoothing: false }]

t.test('a request is sent at once, and those that come while one is in flight together', async t => {
  const sent: number[] = []
  const replies: ((decision: SharedDecision) => void)[] = []
  const batched = new BatchedConsumes((_quotas, _cost, count) => {
    sent.push(count)
    return new Promise(resolve => {
      replies.push(resolve)
    })
  })
  const answer = (admitted: number): void =>
    replies.shift()?.({ admitted, wait: 0, limitedBy: -1, used: 1, reset: 0, now: 0, extras: [] })
  const first = batched.take(quotas, 1)
  await new Promise<void>(resolve => {
    process.nextTick(resolve)
  })
  t.same(sent, [1], 'before the end of the tick, because nothing is in flight')
  const more = [batched.take(quotas, 1)]
  await new Promise<void>(resolve => {
    process.nextTick(resolve)
  })
  more.push(batched.take(quotas, 1))
  t.same(sent, [1], 'one is in flight, so the end of the tick is awaited')
  await setImmediate()
  t.same(sent, [1, 2])
  answer(1)
  answer(2)
  await Promise.all([first, ...more])
})
