// Issue 5: memory of the process after 100,000 tenants, and after a flood of 100,000 invented
// names: `node --expose-gc`.
import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import { toTenant, type TenantRecord, type TenantRegistry } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openResolver, resolveResolverOptions, type OpenResolver,
  type ResolverCacheOptions } from '@fastify-tenancy/resolver'
import type { FastifyRequest } from 'fastify'

import { markdown, report } from '../../src/report.ts'

const count = 100_000
const silent = { info () {}, warn () {}, error () {} }

/** A registry of tenants t0 to t99999 that computes them and stores none. */
const registry: TenantRegistry = {
  async findBySlug (slug) {
    return tenantOf(slug)
  },
  async findByDomain () {
    return undefined
  },
  async findById () {
    return undefined
  },
  async *list () {
    for (let at = 0; at < count; at++) yield tenantOf(`t${at}`) as TenantRecord
  },
  insert: () => Promise.reject(new Error('not here')),
  update: () => Promise.reject(new Error('not here')),
  watch: async () => async () => {}
}

function tenantOf (slug: string): TenantRecord | undefined {
  return slug.startsWith('t')
    ? toTenant({
      id: `0b8a3e52-6a3c-4d0e-9f57-${slug.slice(1).padStart(12, '0')}`,
      slug,
      name: `Tenant ${slug}`
    })
    : undefined
}

/** Megabytes of heap in use after garbage collection. */
function heap (): number {
  const { gc } = globalThis as { gc?: () => void }
  if (gc === undefined) throw new Error('run it with node --expose-gc: npm run bench:heap')
  for (let i = 0; i < 3; i++) gc()
  return process.memoryUsage().heapUsed / 2 ** 20
}

function open (cache: ResolverCacheOptions): OpenResolver {
  return openResolver(
    resolveResolverOptions({
      registry,
      baseDomain: 'example.com',
      cache: { ttl: '2h', localTtl: '1h', negativeTtl: '1h', ...cache }
    })
  )
}

/** The path of a request, from its header on. */
async function ask ({ resolver, strategies }: OpenResolver, slug: string, ip: string): Promise<unknown> {
  const question = strategies.ask(
    { raw: { rawHeaders: ['Host', `${slug}.example.com`], url: '/' } } as unknown as FastifyRequest
  )
  if (question === undefined || question instanceof Error) throw new Error('this was to be a question')
  return resolver.lookup.peek(question) ?? await resolver.lookup.find(question, ip).catch(() => undefined)
}

const rows: string[][] = []

async function measure (
  what: string,
  work: () => Promise<{ readonly held: string; readonly keep: unknown }>
): Promise<void> {
  const before = heap()
  const { held, keep } = await work()
  const after = heap()
  rows.push([what, held, (after - before).toFixed(1)])
  void keep
}

const name = (): string => `n${Math.random().toString(36).slice(2)}`
const address = (at: number): string => `2001:db8:${(at >> 16).toString(16)}:${(at & 0xffff).toString(16)}::1`

/** The first call of each kind is not counted, because it allocates code and shapes. */
async function warmUp (): Promise<void> {
  const opened = open({ index: true })
  await opened.resolver.start()
  for (let at = 0; at < 1_000; at++)
    await Promise.all([ask(opened, `t${at}`, '192.0.2.1'), ask(opened, name(), '192.0.2.1')])
  await opened.close()
}
await warmUp()

for (const max of [10_000, count]) {
  await measure(`100,000 tenants, \`max: ${max.toLocaleString('en')}\``, async () => {
    const opened = open({ max })
    for (let at = 0; at < count; at++) await ask(opened, `t${at}`, '192.0.2.1')
    return { held: `${opened.resolver.health().tenants} tenants`, keep: opened }
  })
}
for (const [from, ipOf] of [['one address', () => '203.0.113.7'], ['100,000 addresses', address]] as const) {
  for (const isAtOnce of [false, true]) {
    await measure(
      `100,000 made-up names from ${from}, ${isAtOnce ? 'all at once' : 'one after another'}`,
      async () => {
        const opened = open({})
        if (isAtOnce)
          await Promise.all(Array.from({ length: count }, (_, at) => ask(opened, name(), ipOf(at))))
        else for (let at = 0; at < count; at++)
            await ask(opened, name(), ipOf(at))
        const { unknown, registryReads } = opened.resolver.health()
        return { held: `${unknown} names, ${registryReads} registry reads`, keep: opened }
      }
    )
  }
}
await measure('`index: true` over 100,000 tenants, and as many made-up names', async () => {
  const opened = open({ index: true })
  await opened.resolver.start()
  while (opened.resolver.lookup.peek({ kind: 'slug', value: 'nobody' }) !== null)
    await new Promise(resolve => setImmediate(resolve))
  for (let at = 0; at < count; at++) await ask(opened, name(), address(at))
  const { unknown, registryReads } = opened.resolver.health()
  return { held: `${unknown} names, ${registryReads} registry reads`, keep: opened }
})
await measure(
  'cache without Redis: a value of 100 bytes for each of 100,000 tenants, `maxBytes` 64 MiB',
  async () => {
    const cache = openCache(resolveCacheOptions({}))
    const value = 'x'.repeat(98)
    for (let at = 0; at < count; at++)
      await cache.forScope(new TenantScope(toTenant({ id: `id-${at}`, slug: `t${at}` }), silent)).set(
        'k',
        value
      )
    return { held: '', keep: cache }
  }
)

report('heap', markdown(['', 'remembered', 'heap, MB'], rows))
process.exit()
