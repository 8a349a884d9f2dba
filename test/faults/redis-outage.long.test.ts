// Two real processes of the whole suite under traffic, while their Redis is frozen, emptied, killed
// and restarted.
import { Redis } from 'ioredis'
import { Agent, get } from 'node:http'
import t, { type Test } from 'tap'

import { noRedis } from '../support/fresh.ts'
import { countingTables } from '../support/counting-registry.ts'
import { startRedis } from '../support/services.ts'
import { suiteProcesses, type SuiteProcess } from '../support/suite-processes.ts'
import { provision } from '../support/tenants.ts'
import { until } from '../support/until.ts'

const slugs = ['acme', 'globex', 'initech']
const keys = ['k0', 'k1', 'k2']
/** Cached tenants expire quickly, so that look-ups continue during an outage. */
const localTtl = 300

/** Default command timeout in milliseconds. */
const commandTimeout = 100

interface Phase {
  readonly p99: number
  readonly count: number
  readonly duration: number
}

interface Health {
  readonly redis: { readonly status: string; readonly breaker: string }
  readonly cache: { readonly status: string }
}

const agent = new Agent({ keepAlive: true })
t.teardown(() => {
  agent.destroy()
})

function send (port: number, path: string, host: string): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>()
  get({ port, path, headers: { host }, agent }, response => {
    let body = ''
    response.setEncoding('utf8').on('data', chunk => {
      body += chunk
    }).on('end', () => {
      resolve({ status: response.statusCode ?? 0, body })
    })
  }).on('error', reject)
  return promise
}

async function health ({ port }: SuiteProcess): Promise<Health> {
  return JSON.parse((await send(port, '/health', 'localhost')).body) as Health
}

/**
 * Sends requests of all tenants to all processes over three connections each, until it is stopped.
 */
class Traffic {
  readonly #isWrong: string[] = []
  #times: number[] = []
  readonly #end = new AbortController()
  readonly #done: Promise<unknown>

  constructor (apps: readonly SuiteProcess[]) {
    this.#done = Promise.all(apps.flatMap(({ port }) =>
      slugs.map(async slug => {
        for (let at = 0; !this.#end.signal.aborted; at++) {
          const key = keys[at % keys.length]
          const [path, body] = at % 2 === 0
            ? ['/', `{"slug":"${slug}","plan":"free"}`]
            : [`/value/${key}`, `{"value":"id-${slug}:${key}"}`]
          const began = performance.now()
          const answer = await send(port, path, `${slug}.example.com`)
          this.#times.push(performance.now() - began)
          if (answer.status !== 200 || answer.body !== body)
            this.#isWrong.push(`${slug}${path}: ${answer.status} ${answer.body}`)
        }
      })
    ))
  }

  /**
   * Waits for `count` more replies and until `isOver`. Resolves to their 99th percentile in ms and
   * their number.
   */
  async phase (count: number, isOver: () => Promise<boolean> = async () => true): Promise<Phase> {
    this.#times = []
    const began = performance.now()
    await until(async () => this.#times.length >= count && await isOver(), 60_000)
    const sorted = this.#times.toSorted((a, b) => a - b)
    return {
      p99: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN,
      count: sorted.length,
      duration: performance.now() - began
    }
  }

  async stop (): Promise<string[]> {
    this.#end.abort()
    await this.#done
    return this.#isWrong
  }
}

/**
 * Few requests may wait for Redis, and each only once. The machine is shared, so compare with the
 * time before and after the outage.
 */
function within (t: Test, name: string, { p99 }: Phase, normal: readonly Phase[]): void {
  const most = Math.max(...normal.map(({ p99 }) => p99)) + commandTimeout
  t.ok(
    p99 <= most,
    `${name}: p99 ${p99.toFixed(1)} ms, ${
      normal.map(({ p99 }) => p99.toFixed(1)).join(' and ')
    } ms before and after`
  )
}

t.test(
  'RED-02 RED-11 every request is answered correctly through every Redis outage',
  { skip: noRedis, timeout: 300_000 },
  async t => {
    const on = await provision(t)
    await on.admin(
      `${countingTables} insert into counted_tenants values ${
        slugs.map(slug => `('id-${slug}', '${slug}')`).join()
      }`
    )
    const count = async (table: 'reads' | 'loads'): Promise<number> =>
      Number((await on.admin<{ n: string }>(`select count(*) as n from ${table}`))[0]?.n)
    let redis = await startRedis()
    t.teardown(() => redis.stop())
    const apps = await suiteProcesses(t, 2, on, {
      redis: redis.url,
      isCounted: true,
      rateLimit: { limits: { default: { rpm: 10_000_000 } } },
      resolver: { cache: { localTtl: `${localTtl}ms` } },
      cache: { ttl: '1h' }
    })
    const all = async (status: string): Promise<boolean> =>
      (await Promise.all(apps.map(health))).every(({ redis }) => redis.status === status)
    const traffic = new Traffic(apps)
    await traffic.phase(500)
    const before = await traffic.phase(2_000)

    const readsBeforeFreeze = await count('reads')
    const freezing = traffic.phase(4_000, () => all('down'))
    redis.process.kill('SIGSTOP')
    const frozen = await freezing
    const reads = await count('reads') - readsBeforeFreeze
    redis.process.kill('SIGCONT')
    t.comment(
      `frozen: p99 ${
        frozen.p99.toFixed(1)
      } ms over ${frozen.count} requests, ${reads} reads of the registry in ${frozen.duration.toFixed(0)} ms`
    )
    t.ok(
      reads < frozen.count / 2,
      'what the processes remember keeps the registry from being read for each request'
    )
    await until(() => all('ok'), 10_000)
    const between = await traffic.phase(2_000)
    within(t, 'frozen', frozen, [before, between])

    const [readsBefore, loadsBefore] = [await count('reads'), await count('loads')]
    const admin = new Redis(redis.url)
    const flushes = 3
    for (let flush = 0; flush < flushes; flush++) {
      await admin.flushall()
      await traffic.phase(300)
    }
    admin.disconnect()
    const flushed = { reads: await count('reads') - readsBefore, loads: await count('loads') - loadsBefore }
    t.comment(`emptied ${flushes} times: ${flushed.reads} reads of the registry, ${flushed.loads} loads`)
    // Each process reads once per flush. The factor 2 allows for a reply of Redis that a busy
    // machine delays beyond its timeout.
    t.ok(flushed.reads <= 2 * flushes * apps.length * slugs.length, 'a tenant is read once a process')
    t.ok(
      flushed.loads <= 2 * flushes * apps.length * slugs.length * keys.length,
      'a value is loaded once a process'
    )

    const dying = traffic.phase(4_000, () => all('down'))
    await redis.stop()
    const killed = await dying
    redis = await startRedis({ port: redis.port })
    const back = await traffic.phase(500, () => all('ok'))
    t.comment(
      `killed: p99 ${killed.p99.toFixed(1)} ms; back: p99 ${back.p99.toFixed(1)} ms, in use after ${
        back.duration.toFixed(0)
      } ms`
    )
    within(t, 'killed', killed, [between, await traffic.phase(2_000)])
    t.same(await traffic.stop(), [], 'no answer was wrong, and none an error')

    const loadsAfter = await count('loads')
    for (const { port } of apps)
      t.same(await send(port, '/value/afterwards', 'acme.example.com'), {
        status: 200,
        body: '{"value":"id-acme:afterwards"}'
      })
    t.equal(await count('loads'), loadsAfter + 1, 'what one process loads, the other reads')
  }
)
