// A hundred thousand made-up names from four addresses, while tenants send requests.
import { Redis } from 'ioredis'
import { Agent, get } from 'node:http'
import t, { type Test } from 'tap'

import { startFloodedApp, startFlooder, type Flooder, type FloodedApp } from '../support/flood.ts'
import { noRedis } from '../support/fresh.ts'
import { startRedis } from '../support/services.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const floodedFrom = ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5']
const slugs = ['acme', 'globex', 'initech']
const count = 100_000
/** Duration of a look-up in milliseconds. */
const latency = 10
/**
 * The resolver's bounds: 300 look-ups without a tenant per address and minute, the excess one at a
 * time, and ten concurrent look-ups of new names.
 */
const perMinute = 300
const atOnce = 10 + 1

interface World extends FloodedApp {
  readonly flooder: Flooder
  readonly redis: Redis
}

async function start (t: Test): Promise<World> {
  const on = await provision(t)
  await on.admin(
    `insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard) select 'id-' || slug, ` +
      `slug, slug, 'active', 'free', 'rls', 'default' from unnest($1::text[]) slug`,
    [slugs]
  )
  await on.admin(
    `insert into notes (tenant_id, body) select 'id-' || slug, slug || ':note' from unnest($1::text[]) slug`,
    [slugs]
  )
  const service = await startRedis()
  t.teardown(() => service.stop())
  const redis = new Redis(service.url)
  t.teardown(() => {
    redis.disconnect()
  })
  const app = await startFloodedApp({
    url: on.url,
    registryUrl: on.registryUrl,
    secret: on.secret,
    redis: service.url,
    table: 'notes',
    latency
  })
  t.teardown(() => {
    app.child.kill('SIGKILL')
  })
  const flooder = startFlooder(app.port, floodedFrom)
  t.teardown(() => {
    flooder.child.kill('SIGKILL')
  })
  return { ...app, flooder, redis }
}

function ask (port: number, slug: string, agent: Agent): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  get({ host: '127.0.0.1', port, agent, headers: { host: `${slug}.example.com` } }, response => {
    let body = ''
    response.setEncoding('utf8').on('data', chunk => {
      body += chunk
    }).on('end', () => {
      resolve(`${response.statusCode} ${body}`)
    })
  }).on('error', reject)
  return promise
}

const right = (slug: string): string => `200 {"slug":"${slug}","notes":["${slug}:note"]}`

/** Sends one tenant's requests in sequence, from an address of its own and from one that floods. */
function traffic (t: Test, port: number, slug: string): { times: number[]; stop(): Promise<string[]> } {
  const wrong: string[] = []
  const times: number[] = []
  const end = new AbortController()
  const done = Promise.all(['127.0.0.1', ...floodedFrom.slice(0, 1)].map(async localAddress => {
    const agent = new Agent({ keepAlive: true, localAddress })
    t.teardown(() => {
      agent.destroy()
    })
    while (!end.signal.aborted) {
      const began = performance.now()
      const answer = await ask(port, slug, agent)
      times.push(performance.now() - began)
      if (answer !== right(slug)) wrong.push(`${localAddress}: ${answer}`)
    }
  }))
  return {
    times,
    async stop () {
      end.abort()
      await done
      return wrong
    }
  }
}

const p99 = (times: readonly number[]): string =>
  `${
    times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)]?.toFixed(1)
  } ms of ${times.length} requests`

t.test(
  'FLD-01 100,000 made-up names over HTTP cost few look-ups and bounded memory',
  { skip: noRedis, timeout: 300_000 },
  async t => {
    const { port, state, flooder, redis } = await start(t)
    const busy = traffic(t, port, 'acme')
    await until(() => busy.times.length > 500, 20_000)
    const alone = busy.times.splice(0)
    const stranger = new Agent({ localAddress: '127.0.0.9' })

    // Warms up the JIT before the memory is measured.
    await flooder.send({ count: 5_000 })
    const before = await state()
    const began = performance.now()
    const flooding = flooder.send({ count })
    await until(async () => (await redis.dbsize()) > 0 && busy.times.length > 1_000, 60_000)
    t.equal(
      await ask(port, 'globex', stranger),
      right('globex'),
      'a tenant without an earlier request is found in the flood'
    )
    const statuses = await flooding
    const seconds = (performance.now() - began) / 1_000
    const after = await state()
    const wrong = await busy.stop()

    t.same(
      Object.keys(statuses).filter(status => status !== '404' && status !== '429'),
      [],
      'each is refused, and none an error of the server'
    )
    t.equal(Object.values(statuses).reduce((all, some) => all + some, 0), count)
    t.same(wrong, [], 'the tenant was served, from an address that floods too')
    t.ok(after.most <= atOnce, `${after.most} look-ups at once`)
    const misses = after.misses - before.misses
    const most = floodedFrom.length * perMinute * (1 + seconds / 60) + seconds * 1_000 / (latency - 1) +
      atOnce
    t.ok(
      misses <= most,
      `${misses} look-ups in ${
        seconds.toFixed(1)
      } s: ${floodedFrom.length} addresses' budgets and a line of one, ${Math.round(most)} at most`
    )
    t.ok(misses < count / 4, 'which is a small part of them')
    t.ok(after.unknown <= 10_000, `${after.unknown} names are remembered`)
    const names = (await redis.keys('*')).filter(key => key.includes('made-up'))
    t.same(names, [], 'no name of theirs is in Redis')
    t.comment(`p99 alone ${p99(alone)}, in the flood ${p99(busy.times)}; ${JSON.stringify(statuses)}`)

    const grown = after.heap - before.heap
    const bound = 6
    t.ok(grown < bound, `the heap grew by ${grown.toFixed(1)} MB`)
    await fetch(`http://127.0.0.1:${port}/keep`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(Array.from({ length: count }, (_, at) => `made-up-${at.toString(36)}`))
    })
    const kept = (await state()).heap - after.heap
    t.ok(kept > bound, `control: by ${kept.toFixed(1)} MB where each is kept`)
    t.equal(await ask(port, 'initech', stranger), right('initech'))
  }
)
