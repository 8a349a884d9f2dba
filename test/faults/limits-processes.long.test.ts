// Three real processes under traffic, while their Redis is killed, restarted and frozen in
// mid-window.
import { Redis } from 'ioredis'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { noRedis } from '../support/fresh.ts'
import { startRedis, temporaryFolder, type RedisService } from '../support/services.ts'
import { until } from '../support/until.ts'

const precisions = ['exact', 'leased'] as const
const limit = 90
const share = limit / 3
/** Command timeout of the processes in milliseconds. */
const commandTimeout = 100
const limits = { shared: limit, killed: limit, frozen: limit, busy: 1_000_000 }
type Slug = keyof typeof limits

async function send (port: number, slug: Slug, path = '/'): Promise<Response> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { 'x-tenant': slug } })
  await response.arrayBuffer()
  return response
}

/** Sends `count` requests to each application and returns how many were admitted. */
async function passed (ports: readonly number[], slug: Slug, count: number): Promise<number[]> {
  return Promise.all(ports.map(async port => {
    const answers = await Promise.all(Array.from({ length: count }, () => send(port, slug)))
    return answers.filter(({ status }) => status === 200).length
  }))
}

function sum (counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0)
}

/** Sends another tenant's requests to each application in sequence, until it is stopped. */
function traffic (
  ports: readonly number[]
): { statuses: Map<number, number>; times: number[]; stop(): Promise<void> } {
  const statuses = new Map<number, number>()
  const times: number[] = []
  const stopping = new AbortController()
  const all = Promise.all(ports.map(async port => {
    while (!stopping.signal.aborted) {
      const from = performance.now()
      const { status } = await send(port, 'busy')
      times.push(performance.now() - from)
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
  }))
  return {
    statuses,
    times,
    async stop () {
      stopping.abort()
      await all
    }
  }
}

async function countsIn (ports: readonly number[], store: 'redis' | 'local'): Promise<void> {
  for (const port of ports) {
    await until(
      async () =>
        (await (await fetch(`http://127.0.0.1:${port}/health`)).json() as { store: string }).store === store,
      10_000
    )
  }
}

/** Returns the remaining count in the tenant's headers, once all applications agree. */
async function agreed (ports: readonly number[], slug: Slug): Promise<number> {
  let left: number[] = []
  await until(async () => {
    left = await Promise.all(
      ports.map(async port => Number((await send(port, slug, '/free')).headers.get('x-ratelimit-remaining')))
    )
    return new Set(left).size === 1
  })
  return left[0] ?? Number.NaN
}

interface World {
  readonly ports: Record<typeof precisions[number], number[]>
  redis: RedisService
  readonly restart: () => Promise<void>
}

/** Redis keeps every write that it acknowledged, and the processes have counted each other. */
async function start (t: Test): Promise<World> {
  const folder = temporaryFolder()
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const args = ['--appendonly', 'yes', '--appendfsync', 'always', '--dir', folder]
  const redis = await startRedis({ args })
  const children = [1, 2, 3].map(() =>
    fork(join(import.meta.dirname, '../support/limits-app.ts'), [
      JSON.stringify({ port: redis.port, limits })
    ])
  )
  t.teardown(() => {
    for (const child of children) child.kill('SIGKILL')
  })
  const all = await Promise.all(children.map(async child => (await once(child, 'message'))[0] as number[]))
  const world: World = {
    ports: { exact: all.map(ports => ports[0] ?? 0), leased: all.map(ports => ports[1] ?? 0) },
    redis,
    async restart () {
      world.redis = await startRedis({ port: redis.port, args })
    }
  }
  t.teardown(() => world.redis.stop())
  await haveMet(t, redis.url)
  return world
}

// Each process sends a heartbeat every 5 s and reads the others' with it.
async function haveMet (t: Test, url: string): Promise<void> {
  const raw = new Redis(url)
  t.teardown(() => {
    raw.disconnect()
  })
  raw.on('error', () => {})
  const [seconds, micros] = await raw.time()
  const now = Number(seconds) * 1_000 + Number(micros) / 1_000
  for (const precision of precisions)
    await until(
      async () => await raw.zcount(`${precision}:tenancy:test:processes`, now, '+inf') === 3,
      10_000
    )
  raw.disconnect()
}

t.test('RL-10 RL-13 three processes under traffic, their Redis killed, restarted and frozen in mid-window', {
  skip: noRedis,
  timeout: 300_000
}, async t => {
  const world = await start(t)
  const ports = Object.values(world.ports).flat()
  const busy = traffic(ports)
  t.teardown(() => busy.stop())

  for (const precision of precisions) {
    const counts = await passed(world.ports[precision], 'shared', 50)
    t.ok(
      sum(counts) <= limit && sum(counts) > limit / 2,
      `${precision}: ${counts.join(' + ')} of ${limit} pass when all send at once`
    )
    t.equal(
      await agreed(world.ports[precision], 'shared'),
      limit - sum(counts),
      'what was leased and not spent is back'
    )
  }

  /** Sends ten requests to each, forty each during an outage, and returns what remains after it. */
  const outage = async (
    t: Test,
    slug: Slug,
    begin: () => Promise<unknown>,
    end: () => Promise<unknown>
  ): Promise<void> => {
    const before = new Map<string, number[]>()
    for (const precision of precisions) before.set(precision, await passed(world.ports[precision], slug, 10))
    await begin()
    await countsIn(ports, 'local')
    const during = new Map<string, number[]>()
    for (const precision of precisions) during.set(precision, await passed(world.ports[precision], slug, 40))
    await end()
    await countsIn(ports, 'redis')
    for (const precision of precisions) {
      const own = (before.get(precision) ?? []).map((count, at) => count + (during.get(precision)?.[at] ?? 0))
      t.ok(
        own.every(count => count <= share),
        `${precision}: each passes its share at most: ${own.join(', ')} of ${share}`
      )
      t.ok(sum(own) > share * 2, 'and there is an answer')
      const left = await agreed(world.ports[precision], slug)
      t.equal(left, limit - sum(own), 'Redis was told of what passed without it')
      const after = sum(await passed(world.ports[precision], slug, 40))
      t.ok(sum(own) + after <= limit, `${sum(own)} and ${after} of ${limit} pass in all`)
    }
  }

  await t.test('killed, and restarted', async t => {
    await outage(t, 'killed', () => world.redis.stop(), () => world.restart())
    t.same([...busy.statuses.keys()], [200])
  })

  await t.test('RED-02 frozen, and thawed', async t => {
    /** Returns the 99th percentile of `count` requests, from request number `from` on. */
    const p99 = async (count: number, from = busy.times.length): Promise<number> => {
      await until(() => busy.times.length > from + count, 60_000)
      const times = busy.times.slice(from).toSorted((a, b) => a - b)
      return times[Math.floor(times.length * 0.99)] ?? Number.NaN
    }
    const before = await p99(2_000)
    let at = 0
    let frozen = Number.NaN
    await outage(t, 'frozen', async () => {
      at = busy.times.length
      world.redis.process.kill('SIGSTOP')
    }, async () => {
      frozen = await p99(4_000, at)
      world.redis.process.kill('SIGCONT')
    })
    const after = await p99(2_000)
    t.ok(
      frozen <= Math.max(before, after) + commandTimeout,
      `p99 ${frozen.toFixed(1)} ms, ${before.toFixed(1)} before and ${
        after.toFixed(1)
      } after: more by the command timeout at most`
    )
    t.same([...busy.statuses.keys()], [200], 'and no 500')
  })
})
