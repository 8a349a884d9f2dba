import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import t from 'tap'

import { LocalLimiter } from '../../packages/rate-limit/src/local-limiter.ts'
import type { Quota, Decision } from '../../packages/rate-limit/src/quota.ts'
import { RedisLimiter } from '../../packages/rate-limit/src/redis-limiter.ts'
import { minute, second } from '../../packages/rate-limit/src/window.ts'
import { freshRedis, noRedis } from '../support/fresh.ts'
import { until } from '../support/until.ts'
import { random, traces } from './traces.ts'
import { virtualScript } from './virtual-time.ts'

const start = 28_333_334 * 60_000
const rpm: Quota = { key: '{a}:rpm', name: 'rpm', limit: 1_000, shape: minute, smoothing: false }
const burst: Quota = { key: '{a}:burst', name: 'burst', limit: 5, shape: second, smoothing: false }

t.test('the limiter in Redis and the one in process agree on the same trace, verdict for verdict', {
  skip: noRedis
}, async t => {
  const redis = freshRedis(t)
  let now = start
  const next = random(3)
  for (const smoothing of [false, true]) {
    for (const [name, arrivals] of Object.entries(traces(60, start))) {
      const local = new LocalLimiter(() => now)
      const quotas = [{ ...rpm, smoothing, key: `{a}:${name}:${smoothing}` }, {
        ...burst,
        key: `{a}:${name}:${smoothing}:burst`
      }]
      const args = quotas.flatMap((
        { limit, shape, smoothing }
      ) => [shape.width, shape.slots, limit, smoothing ? 1 : 0, 0, 0])
      const expected: Decision[] = []
      const replies: Promise<string>[] = []
      for (const at of arrivals) {
        now = at
        const cost = Math.floor(next() * 4)
        expected.push(local.take(quotas, cost))
        replies.push(
          redis.eval(virtualScript, 2, ...quotas.map(({ key }) => key), cost, 1, ...args, now) as Promise<
            string
          >
        )
      }
      const verdicts = (await Promise.all(replies)).map(reply => reply.split(' ').map(Number)).map((
        [, wait, limitedBy, used, reset]
      ) => ({ wait, limitedBy, used, reset }))
      const first = verdicts.findIndex((verdict, at) =>
        JSON.stringify(verdict) !== JSON.stringify(expected[at])
      )
      t.same(
        verdicts[first],
        expected[first],
        `${name}, smoothing ${smoothing}: ${first === -1 ? 'all' : first} of ${arrivals.length} requests`
      )
      await redis.del(...quotas.map(({ key }) => key))
    }
  }
})

t.test(
  'requests of one tick are one command with the verdicts of sequential calls',
  { skip: noRedis },
  async t => {
    const redis = freshRedis(t)
    let now = start
    let questions = 0
    const port = {
      isAvailable: true,
      run (_script: unknown, keys: string[], args: number[]) {
        questions++
        return redis.eval(virtualScript, keys.length, ...keys, ...args, now)
      }
    } as unknown as TenancyRedis
    const next = random(5)
    const whole = (max: number): number => Math.floor(next() * max)
    for (const smoothing of [false, true]) {
      const local = new LocalLimiter(() => now)
      const shared = new RedisLimiter(port, () => now)
      const quotas = [{ ...rpm, limit: 200, smoothing, key: `{a}:${smoothing}` }, {
        ...burst,
        limit: 12,
        key: `{a}:${smoothing}:burst`
      }]
      const found = { whole: 0, part: 0, none: 0 }
      const expected: Decision[][] = []
      const given: Decision[][] = []
      const before = questions
      for (let turn = 1; turn <= 200; turn++) {
        now += whole(4) === 0 ? whole(3_000) : whole(60)
        const [cost, asking] = [whole(4), 1 + whole(8)]
        const verdicts = await Promise.all(
          Array.from({ length: asking }, () => shared.consumePlain(quotas, cost))
        )
        given.push(verdicts)
        expected.push(verdicts.map(() => local.take(quotas, cost)))
        const admitted = verdicts.filter(({ wait }) => wait === 0).length
        found[admitted === asking ? 'whole' : admitted === 0 ? 'none' : 'part']++
      }
      t.same(given, expected, `smoothing ${smoothing}`)
      t.equal(questions - before, 200)
      t.ok(
        Math.min(...Object.values(found)) > 10,
        `the trace has all kinds of turns: ${JSON.stringify(found)}`
      )
    }
  }
)

t.test('requests of another cost, or held against other limits, are questions of their own', {
  skip: noRedis
}, async t => {
  const redis = openRedis(freshRedis(t))
  await redis.ready()
  const limiter = new RedisLimiter(redis, () => performance.now())
  const [one, other] = [[{ ...rpm, limit: 10 }], [{ ...rpm, limit: 10 }]]
  const verdicts = await Promise.all([limiter.consumePlain(one, 1), limiter.consumePlain(one, 3),
    limiter.consumePlain(other, 3), limiter.consumePlain(one, 1), limiter.consumePlain(one, 3)])
  t.same(verdicts.map(({ used, wait }) => wait === 0 ? used : 'refused'), [1, 4, 'refused', 5, 8])
})

t.test('a failed command fails all requests that share it', async t => {
  const limiter = new RedisLimiter(
    { isAvailable: true, run: () => Promise.reject(new Error('gone')) } as unknown as TenancyRedis,
    () => performance.now()
  )
  const quotas = [rpm]
  const told = await Promise.allSettled([limiter.consumePlain(quotas, 1), limiter.consumePlain(quotas, 1),
    limiter.consumePlain(quotas, 2)])
  t.same(told.map(({ status }) => status), ['rejected', 'rejected', 'rejected'])
})

t.test(
  'one round trip a request for any number of limits, with its own keys only',
  { skip: noRedis },
  async t => {
    const client = freshRedis(t)
    const limiter = new RedisLimiter(openRedis(client), () => performance.now())
    await openRedis(client).ready()
    await limiter.consumePlain([rpm, burst], 1)
    let sent = 0
    const send = client.sendCommand.bind(client)
    client.sendCommand = (...args) => {
      sent++
      return send(...args)
    }
    for (let i = 0; i < 5; i++) await limiter.consumePlain([rpm, burst], 1)
    t.equal(sent, 5)
  }
)

t.test('every key has a TTL, and one that lost it, is of another type or holds rubbish heals', {
  skip: noRedis
}, async t => {
  const client = freshRedis(t)
  const redis = openRedis(client)
  await redis.ready()
  const limiter = new RedisLimiter(redis, () => performance.now())
  t.equal((await limiter.consumePlain([rpm, burst], 1)).used, 1)
  const ttl = await client.pttl(rpm.key)
  t.ok(ttl > 60_000 && ttl <= 61_000, `${ttl} ms`)
  t.ok(await client.pttl(burst.key) > 0)
  await client.persist(rpm.key)
  t.equal((await limiter.consumePlain([rpm], 1)).used, 2, 'the count goes on')
  await until(async () => {
    await limiter.consumePlain([rpm], 0)
    await limiter.consumePlain([rpm], 1)
    return await client.pttl(rpm.key) > 0
  })
  for (const cut of [31, 32, 100]) {
    await client.set(rpm.key, (await client.getBuffer(rpm.key) ?? Buffer.alloc(0)).subarray(0, cut))
    t.equal((await limiter.consumePlain([rpm], 1)).wait, 0, `what is left of it, ${cut} bytes`)
  }
  await client.set(rpm.key, 'rubbish')
  t.equal((await limiter.consumePlain([rpm], 1)).used, 1)
  await client.del(rpm.key)
  await client.hset(rpm.key, 'a', 1)
  t.equal((await limiter.consumePlain([rpm], 1)).used, 1)
  t.ok(await client.pttl(rpm.key) > 0)
})

t.test('a script that the server lost is sent again and counts once', { skip: noRedis }, async t => {
  const client = freshRedis(t)
  const redis = openRedis(client)
  await redis.ready()
  const limiter = new RedisLimiter(redis, () => performance.now())
  // Simulates SCRIPT FLUSH, which would affect the other tests on this server.
  const evalsha = client.evalsha.bind(client)
  let forgets = true
  client.evalsha = ((sha: string, ...rest: (string | number)[]) => {
    const known = forgets ? '0'.repeat(40) : sha
    forgets = false
    return evalsha(known, ...rest as [number, ...string[]])
  }) as typeof client.evalsha
  t.equal((await limiter.consumePlain([rpm], 1)).used, 1)
  t.equal((await limiter.consumePlain([rpm], 1)).used, 2)
})

t.test('a refused request writes nothing', { skip: noRedis }, async t => {
  const client = freshRedis(t)
  const redis = openRedis(client)
  await redis.ready()
  const limiter = new RedisLimiter(redis, () => performance.now())
  const one = { ...rpm, limit: 1 }
  await limiter.consumePlain([one], 1)
  const before = await client.getBuffer(one.key)
  const verdict = await limiter.consumePlain([one], 1)
  t.ok(verdict.wait > 59_000 && verdict.wait <= 61_000)
  t.same(await client.getBuffer(one.key), before)
})

t.test("the script's short way decides and writes what its long way does", { skip: noRedis }, async t => {
  const redis = freshRedis(t)
  const isShort = 'if sender and not KEYS[2]'
  t.equal(virtualScript.split(isShort).length, 2, 'the control: the short way can be switched off')
  const long = virtualScript.replace(isShort, 'if false and sender and not KEYS[2]')
  const short = virtualScript.replace(
    "return ARGV[2] .. ' 0 -1 '",
    "redis.call('INCR', KEYS[1] .. 'short') $&"
  )
  const ways = await Promise.all([short, long].map(script => redis.script('LOAD', script) as Promise<string>))
  const next = random(11)
  for (
    const [limit, smoothing, lots, width] of [[1_500, 0, 0, 1_000], [1_500, 1, 0, 1_000], [2_000, 1, 4,
      100]] as const
  ) {
    const name = `${limit}-${smoothing}-${lots}`
    const numbers = [0, 0, 0]
    let now = 1_700_000_000_000
    for (let at = 0; at < 400; at++) {
      now += Math.floor(next() * (next() < 0.01 ? 12_000 : width / 10)) - (next() < 0.01 ? 300 : 0)
      const sender = Math.floor(next() * 3)
      const number = numbers[sender] = numbers[sender]! + (next() < 0.02 ? -1 : 1)
      // The number up to which the outcome of all sends is known lags by those that are on their way.
      const known = Math.max(0, number - 1 - Math.floor(next() * 3))
      const args = [Math.floor(next() * 4), 1 + Math.floor(next() * 3), width, 10, limit, smoothing, lots, 0,
        `sender-${sender}`, number, known, 41 + 77 * 3, 0, now]
      const replies = await Promise.all(ways.map(async (sha, way) => {
        const key = `{${name}}:${way}`
        const reply = await redis.evalsha(sha, 1, key, ...args)
        return { reply, ring: (await redis.getBuffer(key))?.toString('hex') }
      }))
      if (JSON.stringify(replies[0]) !== JSON.stringify(replies[1])) {
        t.same(replies[0], replies[1], `${name}, send ${at}: ${args.join(' ')}`)
        return
      }
    }
    const taken = Number(await redis.get(`{${name}}:0short`))
    t.ok(taken > 50 && taken < 390, `${name}: ${taken} of 400 sends took the short way`)
  }
})
