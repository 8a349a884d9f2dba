// CON-12: messages that a tenant's SQL can send on our channel, and what they cost.
import type { TenantChange, TenantRegistry } from '@fastify-tenancy/core'
import { invalidationChannel } from '@fastify-tenancy/core/keys'
import { openPool, postgresRegistry } from '@fastify-tenancy/database'
import { init } from '@fastify-tenancy/postgres/install'
import { openRedis, type TenancyRedis } from '@fastify-tenancy/redis'
import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type pg from 'pg'
import t, { type Test } from 'tap'

import { openListener } from '../../packages/postgres/src/registry/open-listener.ts'
import { resolveResolverOptions } from '../../packages/resolver/src/options.ts'
import { TenantResolver } from '../../packages/resolver/src/resolver.ts'
import { freshDatabase, noRedis } from '../support/fresh.ts'
import { startRedis, type RedisService } from '../support/services.ts'
import { connect } from '../support/sql.ts'
import { until } from '../support/until.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const count = 200
const slugs = Array.from({ length: 250 }, (_, n) => `tenant-${n}`)

interface World {
  readonly admin: pg.Client
  readonly resolver: TenantResolver
  readonly server: RedisService
  /** Number of write commands since the last call. */
  writes(): Promise<number>
  /** Marks in Redis of changes that a process received from its listener. */
  readonly heard: (TenantChange | 'all')[]
}

async function world (t: Test): Promise<World> {
  const url = await freshDatabase(t)
  const admin = await connect(t, url)
  await init(admin)
  await admin.query(
    "insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard) select 'id-' || n, " +
      "'tenant-' || n, 'T', 'active', 'free', 'rls', 'default' from generate_series(0, 249) n"
  )
  // Backdates the entries.
  await admin.query("update tenancy.changes set changed_at = now() - interval '2 hours'")
  const server = await startRedis()
  t.teardown(() => server.stop())
  const raw = new Redis(server.url)
  raw.on('error', () => {})
  t.teardown(() => {
    raw.disconnect()
  })
  const pool = openPool(url)
  t.teardown(() => pool.end())
  const heard: (TenantChange | 'all')[] = []
  const registry = postgresRegistry(pool, { listen: () => openListener(pool) })
  const redis: TenancyRedis = openRedis(server.url)
  t.teardown(() => redis.close())
  const watched: TenantRegistry = {
    findBySlug: slug => registry.findBySlug(slug),
    findByDomain: domain => registry.findByDomain(domain),
    findById: id => registry.findById(id),
    list: filter => registry.list(filter),
    insert: tenant => registry.insert(tenant),
    update: (id, version, changes) => registry.update(id, version, changes),
    watch: async listener =>
      await registry.watch?.(change => {
        heard.push(change)
        listener(change)
      }) ?? (async () => {})
  }
  const options = resolveResolverOptions({
    registry: watched,
    baseDomain: 'example.com',
    cache: { jitter: 0, localTtl: '1h', ttl: '1h' }
  })
  const resolver = new TenantResolver(watched, redis, options.cache, () => undefined)
  await resolver.start()
  t.teardown(() => resolver.stop())
  for (const slug of slugs) await resolver.find({ slug })
  await until(async () => await raw.dbsize() === slugs.length)
  let before = 0
  const writes = async (): Promise<number> => {
    const stats = await raw.info('commandstats')
    const now = [...stats.matchAll(/^cmdstat_(?:set|del|publish|evalsha|eval):calls=(\d+)/gm)].reduce(
      (sum, [, calls]) => sum + Number(calls),
      0
    )
    const since = now - before
    before = now
    return since
  }
  await writes()
  return { admin, resolver, server, writes, heard }
}

/** Waits until everything that was sent before has been processed. */
async function settled ({ admin, resolver, heard }: World): Promise<void> {
  const { length } = heard
  await admin.query("update tenancy.tenants set plan = plan || 'x' where id = 'id-0'")
  await until(() => heard.slice(length).some(change => change !== 'all' && change.id === 'id-0'))
  await resolver.find({ slug: 'tenant-0' })
}

const names = (n: number): string =>
  JSON.stringify({
    id: `id-${n}`,
    slugs: Array.from({ length: 300 }, (_, at) => `tenant-${at}`),
    domains: Array.from({ length: 60 }, (_, at) => `d${at}-${n}.example`)
  })

/** The payloads of a flood. */
const floods: Record<string, (n: number) => string> = {
  'names of others, as an announcement': names,
  'a name with a brace in it': n =>
    JSON.stringify({ id: `id-${n}`, slugs: ['tenant-7'], domains: [`{${n}}.example`] }),
  'half a message': n => names(n).slice(0, -3),
  'the longest that there can be': n => `${n}${'x'.repeat(7_900)}`,
  'an empty message': () => '',
  'lists in lists': n => `${'['.repeat(3_900)}${n}${']'.repeat(3_900)}`,
  'ids of others': n => `id-${n + 1}`,
  'ids of nobody': n => `nobody-${n}`
}

t.test(
  `CON-12 floods of ${count} messages: bounded memory, no writes, no repeated look-up`,
  { skip: noRedis },
  async t => {
    const on = await world(t)
    const { admin, resolver, heard, writes } = on
    for (const [name, text] of Object.entries(floods)) {
      await settled(on)
      await writes()
      const reads = resolver.health().registryReads
      collect()
      const heap = process.memoryUsage().heapUsed
      for (let n = 0; n < count; n++) await admin.query("select pg_notify('tenancy', $1)", [text(n)])
      await settled(on)
      collect()
      const grown = (process.memoryUsage().heapUsed - heap) / 2 ** 20
      t.ok(grown < 20, `${name}: the heap grew by ${grown.toFixed(1)} MB`)
      const written = await writes()
      t.ok(written <= 20, `${name}: ${written} writes`)
      t.same(
        slugs.filter(value => !resolver.lookup.peek({ kind: 'slug', value })),
        [],
        `${name}: all are still remembered`
      )
      t.equal(
        resolver.health().registryReads,
        reads + 1,
        `${name}: the one read is of the tenant that did change`
      )
    }
    t.notOk(heard.includes('all'))
  }
)

t.test(`CON-12 ${count} times "all": everything is asked for again a few times, not ${count} times`, {
  skip: noRedis
}, async t => {
  const on = await world(t)
  const { admin, resolver, heard } = on
  for (let n = 0; n < count; n++) {
    await admin.query("select pg_notify('tenancy', 'all')")
    await resolver.find({ slug: 'tenant-1' })
  }
  await settled(on)
  t.equal(heard.filter(change => change === 'all').length, 5)
  t.ok(resolver.health().registryReads <= slugs.length + 10)
})

t.test('CON-12 the same floods while Redis is away', { skip: noRedis }, async t => {
  const on = await world(t)
  const { admin, resolver, server } = on
  await server.stop()
  for (const text of [...Object.values(floods), () => 'all']) {
    for (let n = 0; n < count; n++) await admin.query("select pg_notify('tenancy', $1)", [text(n)])
    await settled(on)
    t.ok(await resolver.find({ slug: 'tenant-1' }))
  }
  await sleep(0) // an unhandled rejection would have ended the process by now
})

t.test(
  'CON-12 real changes in a flood arrive: each tenant once, with its former names',
  { skip: noRedis },
  async t => {
    const on = await world(t)
    const { admin, heard } = on
    await settled(on)
    heard.splice(0)
    for (let n = 0; n < count; n++) {
      await admin.query("select pg_notify('tenancy', $1)", [`id-${n % 50 + 100}`])
      if (n % 20 === 0)
        await admin.query('update tenancy.tenants set slug = $2 where id = $1', [`id-${n}`, `renamed-${n}`])
    }
    await until(() => heard.length >= 10)
    t.same(
      heard.map(change => change === 'all' ? [] : [change.id, ...change.slugs]),
      Array.from({ length: 10 }, (_, n) => [`id-${n * 20}`, `renamed-${n * 20}`, `tenant-${n * 20}`])
    )
  }
)

t.test('CON-12 many changes at once: one by one, or all', { skip: noRedis }, async t => {
  const { admin, heard } = await world(t)
  await admin.query("update tenancy.tenants set plan = 'bulk'")
  await until(() => heard.length >= 250)
  t.equal(new Set(heard.map(change => change === 'all' ? 'all' : change.id)).size, 250)
  heard.splice(0)
  await admin.query(
    "insert into tenancy.tenants (id, slug, name, status, plan, isolation, shard) select 'more-' || n, " +
      "'more-slug-' || n, 'T', 'active', 'free', 'rls', 'default' from generate_series(1, 2000) n"
  )
  await until(() => heard.includes('all'))
})

t.test('CON-12 messages without sense on the channel of Redis: everything is asked for again a few times', {
  skip: noRedis
}, async t => {
  const { resolver, server, writes } = await world(t)
  const raw = new Redis(server.url)
  t.teardown(() => {
    raw.disconnect()
  })
  const reads = resolver.health().registryReads
  for (let n = 0; n < count; n++) {
    await raw.publish(invalidationChannel, `{"half": ${n}`)
    await resolver.find({ slug: 'tenant-1' })
  }
  await sleep(0)
  t.ok(resolver.health().registryReads <= reads + 10)
  t.ok(await writes() <= count + 20, 'those of the flood itself, and a few')
})
