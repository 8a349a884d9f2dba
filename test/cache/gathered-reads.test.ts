// All reads of one tick of the event loop are one command.
import { Redis } from 'ioredis'
import t from 'tap'

import { GatheredReads } from '../../packages/cache/src/gathered-reads.ts'
import { noRedis } from '../support/fresh.ts'
import { freePort, startRedis } from '../support/services.ts'
import { until } from '../support/until.ts'
import { appWith, cacheOf } from './stub.ts'

const keysOf = (count: number): string[] => Array.from({ length: count }, (_, at) => `k${at}`)

t.test(
  "reads of one tick are one MGET, and each reader gets its own tenant's value",
  { skip: noRedis },
  async t => {
    const { url, stop } = await startRedis()
    t.teardown(stop)
    const raw = new Redis(url)
    t.teardown(() => {
      raw.disconnect()
    })
    const app = await appWith({ redis: url })
    t.teardown(() => app.close())
    await app.ready()
    const mgets = async (work: () => Promise<unknown>): Promise<number> => {
      await raw.config('RESETSTAT')
      await work()
      return Number(/cmdstat_mget:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0)
    }
    for (const id of ['a', 'b']) {
      for (const key of keysOf(5)) await cacheOf(app, id).set(key, { of: `${id}:${key}` })
      await cacheOf(app, id).set('tagged', { of: `${id}:tagged` }, { tags: ['x'] })
    }
    const [a, b] = [cacheOf(app, 'a'), cacheOf(app, 'b')]

    t.equal(
      await mgets(async () => {
        const found = await Promise.all([...keysOf(6).map(key => a.get(key)), b.get('k1'), a.wrap('k2', () =>
          t.fail()), a.has('k3'), ...keysOf(2).map(key => b.get(key))])
        t.same(found, [...keysOf(5).map(key => ({ of: `a:${key}` })), undefined, { of: 'b:k1' }, {
          of: 'a:k2'
        }, true, { of: 'b:k0' }, { of: 'b:k1' }])
      }),
      1
    )
    t.equal(
      await mgets(async () => {
        const found = await Promise.all(Array.from({ length: 1_000 }, () => a.get<{ of: string }>('k0')))
        t.equal(new Set(found).size, 1_000)
        t.ok(found.every(value => value?.of === 'a:k0'))
      }),
      1
    )
    t.equal(
      await mgets(async () => {
        await Promise.all(keysOf(100).map(key => a.get(key)))
      }),
      2,
      '64 keys go together at most'
    )
    t.equal(
      await mgets(async () => {
        const found = await Promise.all(keysOf(100).flatMap(key => [a.get(key), b.get(key)]))
        t.same(found.slice(0, 12), [...keysOf(5).flatMap(key => [{ of: `a:${key}` }, { of: `b:${key}` }]),
          undefined, undefined])
      }),
      4
    )
    t.equal(
      await mgets(async () => {
        for (const key of keysOf(3)) await a.get(key)
      }),
      3,
      'who waits for each has a command of his own'
    )

    t.same(await Promise.all([a.get('tagged'), a.get('k1'), b.get('tagged')]), [{ of: 'a:tagged' }, {
      of: 'a:k1'
    }, { of: 'b:tagged' }])
    await a.invalidateTag('x')
    t.same(await Promise.all([a.get('tagged'), a.get('k1'), b.get('tagged')]), [undefined, { of: 'a:k1' }, {
      of: 'b:tagged'
    }])
    const before = a.get('k1')
    await a.flush()
    t.ok([undefined, 'a:k1'].includes((await before as { of: string } | undefined)?.of))
    t.same(await Promise.all([a.get('k1'), b.get('k1')]), [undefined, { of: 'b:k1' }])
  }
)

for (
  const [isTogether, commands] of [[true, [['a', 'x', 'y', 'b', 'x']]], [false, [['a', 'x', 'y'], ['b',
    'x']]]] as const
)
  t.test(`a failed read fails all of its command, not later reads (together: ${isTogether})`, async t => {
    let isDown = true
    const asked: string[][] = []
    const reads = new GatheredReads(async wanted => {
      asked.push(wanted.flatMap(({ tenant, keys }) => [tenant, ...keys]))
      if (isDown) throw new Error('down')
      return wanted.flatMap(({ keys }) =>
        keys.map(payload => ({ payload, staleAt: Infinity, isCounter: false, casToken: undefined }))
      )
    }, isTogether)
    const results = await Promise.allSettled([reads.read('a', 'x'), reads.read('a', 'y'),
      reads.read('a', 'x'), reads.read('b', 'x')])
    t.ok(results.every(({ status }) => status === 'rejected'))
    isDown = false
    t.equal((await reads.read('a', 'x')).payload, 'x')
    t.same(asked, [...commands, ['a', 'x']])
  })

t.test(
  'a Redis that keeps slots behind one address gives each tenant his values, too',
  { skip: noRedis },
  async t => {
    const { url, stop } = await startRedis({
      args: ['--cluster-enabled', 'yes', '--cluster-port', `${await freePort()}`]
    })
    t.teardown(stop)
    const raw = new Redis(url)
    t.teardown(() => {
      raw.disconnect()
    })
    await raw.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383)
    await until(async () => String(await raw.call('CLUSTER', 'INFO')).includes('cluster_state:ok'))
    await t.rejects(
      raw.mget('{a}', '{b}'),
      { message: /^CROSSSLOT/ },
      'control: it refuses keys of several tenants'
    )
    const app = await appWith({ redis: url, onStoreError: 'throw' })
    t.teardown(() => app.close())
    await app.ready()
    const ids = ['a', 'b', 'c']
    for (const id of ids) for (const key of keysOf(2)) await cacheOf(app, id).set(key, `${id}:${key}`)
    for (const turn of ['first', 'next']) {
      t.same(
        await Promise.all(ids.flatMap(id => keysOf(3).map(key => cacheOf(app, id).get(key)))),
        ids.flatMap(id => [`${id}:k0`, `${id}:k1`, undefined]),
        turn
      )
    }
  }
)

t.test('tenants that cannot share a command are read one by one from then on', async t => {
  const asked: string[][] = []
  const reads = new GatheredReads(async wanted => {
    asked.push(wanted.map(({ tenant }) => tenant))
    if (wanted.length > 1) throw new Error("CROSSSLOT Keys in request don't hash to the same slot")
    if (wanted[0]?.tenant === 'b') throw new Error('CROSSSLOT again')
    return wanted.flatMap(({ keys }) =>
      keys.map(payload => ({ payload, staleAt: Infinity, isCounter: false, casToken: undefined }))
    )
  }, true)
  for (const commands of [[['a', 'b', 'c'], ['a'], ['b'], ['c']], [['a'], ['b'], ['c']]]) {
    const results = await Promise.allSettled(['a', 'b', 'c'].map(tenant => reads.read(tenant, 'x')))
    t.same(results.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled'])
    t.same(asked.splice(0), commands)
  }
})

t.test('a large read has a command of its own, so that it delays no other', async t => {
  const asked: string[][] = []
  const reads = new GatheredReads(async wanted => {
    asked.push(wanted.map(({ tenant, keys }) => `${tenant} ${keys.length}`))
    return wanted.flatMap(({ keys }) =>
      keys.map(payload => ({ payload, staleAt: Infinity, isCounter: false, casToken: undefined }))
    )
  }, true)
  await Promise.all([reads.read('slim', 'k'), ...keysOf(60).map(key => reads.read('fat', key)),
    ...keysOf(15).map(key => reads.read('b', key)), reads.read('c', 'k'), reads.read('d', 'k')])
  t.same(asked, [['slim 1'], ['fat 60'], ['b 15', 'c 1'], ['d 1']])
})
