// EDG-05: values that may be stored under a limit's key, and jumps of the server's clock, in
// virtual time with the real script.
import type { Redis } from 'ioredis'
import t from 'tap'

import type { TenancyRedis } from '@fastify-tenancy/redis'

import type { Quota } from '../../packages/rate-limit/src/quota.ts'
import { RedisLimiter } from '../../packages/rate-limit/src/redis-limiter.ts'
import { minute, second, type WindowShape } from '../../packages/rate-limit/src/window.ts'
import { freshRedis, noRedis } from '../support/fresh.ts'
import { isLong } from '../support/long.ts'
import { random } from './traces.ts'
import { virtualScript } from './virtual-time.ts'

const start = 28_333_334 * 60_000
const window = 61_000

interface Clock {
  now: number
}

/** A limiter of another process on a Redis whose clock is `clock`. */
function limiterOn (redis: Redis, clock: Clock): RedisLimiter {
  const port = {
    isAvailable: true,
    run: (_script: unknown, keys: string[], args: (string | number)[]) =>
      redis.eval(virtualScript, keys.length, ...keys, ...args, clock.now)
  } as unknown as TenancyRedis
  return new RedisLimiter(port, () => performance.now())
}

function quotaOf (name: string, limit = 10, shape: WindowShape = minute): Quota {
  return { key: `{a}:${name}`, name: 'rpm', limit, shape, smoothing: false }
}

/** Sends one request at a time until one is refused. Returns how many were admitted. */
async function fill (limiter: RedisLimiter, quota: Quota): Promise<number> {
  for (let admitted = 0;; admitted++) if ((await limiter.consumePlain([quota], 1)).wait > 0) return admitted
}

function doubles (...numbers: number[]): Buffer {
  const bytes = Buffer.alloc(8 * numbers.length)
  for (const [at, number] of numbers.entries()) bytes.writeDoubleLE(number, 8 * at)
  return bytes
}

/** A full ring as the script writes it, with some of its five leading numbers replaced. */
async function fullRing (redis: Redis, clock: Clock, quota: Quota): Promise<Buffer> {
  await fill(limiterOn(redis, clock), quota)
  const value = await redis.getBuffer(quota.key)
  if (value === null) throw new Error('nothing was written')
  return value
}

t.test('EDG-05 a value of another length or type counts as empty', { skip: noRedis }, async t => {
  const redis = freshRedis(t)
  const clock = { now: start }
  const quota = quotaOf('length')
  const ring = await fullRing(redis, clock, quota)
  const lengths = [0, 1, 8, 31, 41, 42, 43, 58, 59, 80, 100, ring.length - 4, ring.length - 1,
    ring.length + 1, ring.length + 4, 4_096]
  for (const length of lengths) {
    await redis.set(quota.key, Buffer.concat([ring, Buffer.alloc(4_096)]).subarray(0, length))
    const verdict = await limiterOn(redis, clock).consumePlain([quota], 1)
    t.match(verdict, { wait: 0, used: 1 }, `${length} of ${ring.length} bytes`)
    t.equal((await limiterOn(redis, clock).consumePlain([quota], 1)).used, 2)
  }
  const others: Record<string, () => Promise<unknown>> = {
    list: () => redis.rpush(quota.key, 'x'),
    hash: () => redis.hset(quota.key, 'a', 1),
    set: () => redis.sadd(quota.key, 'x'),
    number: () => redis.set(quota.key, 42),
    text: () => redis.set(quota.key, 'x'.repeat(286)),
    stream: () => redis.xadd(quota.key, '*', 'a', 'b')
  }
  for (const [name, write] of Object.entries(others)) {
    await redis.del(quota.key)
    await write()
    t.match(await limiterOn(redis, clock).consumePlain([quota], 1), { wait: 0, used: 1 }, name)
  }
})

t.test('EDG-05 invalid leading numbers of a ring neither loop nor lock out', {
  skip: noRedis
}, async t => {
  const redis = freshRedis(t)
  const clock = { now: start }
  const quota = quotaOf('numbers')
  const ring = await fullRing(redis, clock, quota)
  const [head, total, newest, oldest, shape] = [0, 8, 16, 24, 32].map(at => ring.readDoubleLE(at)) as [
    number,
    number,
    number,
    number,
    number
  ]
  const wrong = [NaN, Infinity, -Infinity, -1, 0.5, 1e300, -1e300, 1e15, -1e15, 2 ** 53, 4_294_967_295]
  const forged = wrong.flatMap(number => [
    [number, total, newest, oldest, shape],
    [head, number, newest, oldest, shape],
    [head, total, number, oldest, shape],
    [head, total, newest, number, shape],
    [head, total, newest, oldest, number],
    [head, number, number, number, shape]
  ])
  for (const numbers of forged) {
    const value = Buffer.concat([doubles(...numbers), ring.subarray(40)])
    await redis.set(quota.key, value)
    const verdict = await limiterOn(redis, clock).consumePlain([quota], 1)
    t.ok(
      verdict.wait >= 0 && verdict.wait <= window && verdict.reset <= window + 1_000,
      `${numbers.join()}: ${JSON.stringify(verdict)}`
    )
    clock.now += window
    t.equal(
      (await limiterOn(redis, clock).consumePlain([quota], 1)).wait,
      0,
      `${numbers.join()} a window later`
    )
    clock.now = start
  }
  // The buckets say that the ring is empty, the total says that it is full.
  const empty = Buffer.concat([doubles(head, 1e9, 0, head - 60, shape),
    ring.subarray(40, ring.length - 4 * 61), Buffer.alloc(4 * 61)])
  await redis.set(quota.key, empty)
  t.match(await limiterOn(redis, clock).consumePlain([quota], 1), { wait: 0, used: 1 })
})

t.test('EDG-05 mutations of a full ring give a verdict, and heal within a window', {
  skip: noRedis
}, async t => {
  const redis = freshRedis(t)
  const next = random(17)
  const clock = { now: start }
  const quota = quotaOf('mutation')
  const limiter = limiterOn(redis, clock)
  const ring = await fullRing(redis, clock, quota)
  const problems: string[] = []
  for (let round = 0; round < (isLong ? 2_000 : 300); round++) {
    const value = Buffer.from(ring)
    for (let flips = 1 + Math.floor(next() * 4); flips > 0; flips--)
      value[Math.floor(next() * (next() < 0.7 ? 80 : value.length))] = Math.floor(next() * 256)
    await redis.set(quota.key, value)
    try {
      const { wait, used, reset } = await limiter.consumePlain([quota], 1)
      clock.now += window
      const later = await limiter.consumePlain([quota], 1)
      if (!(wait >= 0 && wait <= window && used >= 0 && reset >= 0 && later.wait === 0))
        problems.push(JSON.stringify({ wait, used, reset, later, value: value.toString('hex', 0, 80) }))
    } catch (error) {
      problems.push(`${String(error)} ${value.toString('hex', 0, 80)}`)
    }
    clock.now = start
  }
  t.same(problems.slice(0, 3), [])
})

t.test("EDG-05 an invalid entry of the sender's own neither fails its sends nor refuses them", {
  skip: noRedis
}, async t => {
  const redis = freshRedis(t)
  const clock = { now: start }
  const quota = quotaOf('entry')
  const limiter = limiterOn(redis, clock)
  await limiter.consumePlain([quota], 1)
  const ring = await redis.getBuffer(quota.key) ?? Buffer.alloc(0)
  const list = 42
  t.ok(ring.readUInt16LE(40) > 0, 'control: there is a list of sends')
  const changed = (change: (value: Buffer) => void): Buffer => {
    const value = Buffer.from(ring)
    change(value)
    return value
  }
  const values = {
    ...Object.fromEntries(
      [NaN, Infinity, -Infinity, 0.5, 2 ** 53, 1e300, 20_000].map(last => [
        `its last send is ${last}`,
        changed(value => value.writeDoubleLE(last, list + 8))
      ])
    ),
    ...Object.fromEntries(
      [3, 16, 255].map(places => [`it has ${places} places`, changed(value => value[list + 16] = places)])
    ),
    'the list is longer than the value': changed(value => {
      value.writeUInt16LE(65_535, 40)
      value.writeDoubleLE(9_000, list + 8)
      value[list + 16] = 255
    }),
    'the value is cut': changed(value => value.writeUInt16LE(4_000, 40)).subarray(0, list + 20)
  }
  for (const [what, value] of Object.entries(values)) {
    await redis.set(quota.key, value)
    for (let n = 0; n < 3; n++) {
      const { wait, used } = await limiter.consumePlain([quota], 1).catch((error: unknown) => {
        t.fail(`${what}: ${String(error)}`)
        return { wait: NaN, used: NaN }
      })
      t.equal(wait, 0, what)
      t.ok(used > n && used <= n + 2, `${what}: ${used}`)
    }
  }
})

for (const back of [1, 999, 1_000, 30_000, 60_000, 61_000, 300_000, 86_400_000]) {
  t.test(`EDG-05 the server's clock is set back by ${back} ms: honest waits, healed within one window`, {
    skip: noRedis
  }, async t => {
    const redis = freshRedis(t)
    const clock = { now: start + 500 }
    const quota = quotaOf('clock', 20)
    const limiter = limiterOn(redis, clock)
    let at = 0 // milliseconds of real time
    const move = (by: number): void => {
      at += by
      clock.now += by
    }
    const log: number[] = []
    const ask = async (): Promise<number> => {
      const { wait } = await limiter.consumePlain([quota], 1)
      if (wait === 0) log.push(at)
      return wait
    }
    for (let i = 0; i < 10; i++) {
      await ask()
      move(1_500)
    }
    clock.now -= back
    for (let i = 0; i < 10; i++) t.equal(await ask(), 0, 'what is left of the limit may be used')
    const wait = await ask()
    t.ok(wait > 0 && wait <= window, `${wait} ms`)
    move(wait - 1)
    t.ok(await ask() > 0, 'not before')
    move(1)
    t.equal(await ask(), 0, 'and then')
    // Refused requests alone repair it too.
    for (let i = 0; i < 65; i++) {
      move(1_000)
      await ask()
    }
    for (let first = 0; first < log.length; first++) {
      const inside = log.filter(one => one >= log[first]! && one < log[first]! + 60_000).length
      if (inside > 20) t.fail(`${inside} admitted within a minute from ${log[first]!}`)
    }
    t.ok(log.length >= 40, `${log.length} were admitted in all: the limit is used again`)
  })
}

const shapes: Record<string, [WindowShape, WindowShape]> = {
  'a finer one': [minute, { width: 500, slots: 120 }],
  'a coarser one': [minute, { width: 5_000, slots: 12 }],
  'one that is no multiple': [minute, { width: 700, slots: 86 }],
  'that of a second': [second, { width: 50, slots: 20 }]
}
for (const [name, [older, newer]] of Object.entries(shapes)) {
  t.test(`EDG-05 a rolling deploy: processes count in one shape and in ${name}, under one key`, {
    skip: noRedis
  }, async t => {
    const redis = freshRedis(t)
    const next = random(23)
    const clock = { now: start }
    const limit = 60
    const length = older.width * older.slots
    const quotas = [quotaOf('shape', limit, older), quotaOf('shape', limit, newer)]
    const limiters = [limiterOn(redis, clock), limiterOn(redis, clock)]
    const log: number[] = []
    let refused = 0
    let longest = 0
    for (let sent = 0; sent < (isLong ? 3_000 : 900); sent++) {
      clock.now += Math.floor(next() * length / 300)
      const which = Math.floor(next() * 2)
      const { wait } = await limiters[which]!.consumePlain([quotas[which]!], 1)
      longest = Math.max(longest, wait)
      if (wait === 0) log.push(clock.now)
      else refused++
    }
    let most = 0
    for (let first = 0; first < log.length; first++)
      most = Math.max(
        most,
        log.filter(one => one >= log[first]! && one < log[first]! + length).length
      )
    // A count may shift by half of the wider bucket.
    const slack = Math.ceil(limit * Math.max(older.width, newer.width) / length)
    t.ok(most <= limit + slack, `${most} of ${limit} in one window`)
    t.ok(refused > 100, 'the limit was reached')
    t.ok(longest <= length * 1.2, `${longest} ms`)
    t.ok(log.length >= limit, `${log.length} were admitted`)
  })
}
