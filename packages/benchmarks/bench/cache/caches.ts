// The same cache four times: ours, two peers, and ioredis by hand.
import { openCache, resolveCacheOptions, type TenantCacheHandle } from '@fastify-tenancy/cache'
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { openRedis } from '@fastify-tenancy/redis'
import { createCache } from 'async-cache-dedupe'
import { BentoCache, bentostore } from 'bentocache'
import { memoryDriver } from 'bentocache/drivers/memory'
import { redisDriver } from 'bentocache/drivers/redis'
import { Redis } from 'ioredis'

import { startRedis } from '../../../../test/support/services.ts'

/** A JSON value of about 230 bytes: a row with a few fields. */
export const value = {
  id: 4711,
  name: 'A project with a name',
  owner: 'b1946ac9-2d4e-4d6e-8f43-0d2f0c1d5a55',
  tags: ['alpha', 'beta', 'gamma'],
  done: false,
  budget: 1234.5,
  createdAt: '2026-01-01T00:00:00.000Z',
  notes: 'Some words about it.'
}
export const keys: readonly string[] = Array.from({ length: 200 }, (_, at) => `project:${at}`)
export const anyKey = (): string => keys[Math.floor(Math.random() * keys.length)] as string

const silent = { info () {}, warn () {}, error () {} }

export interface Caches {
  readonly url: string
  /** Caches of this many tenants over Redis, with a process-local tier of lifetime `local`. */
  ours(local: string | false, tenants: number): Promise<TenantCacheHandle[]>
  bento(
    isLocal: boolean
  ): { get(key: string): Promise<unknown>; wrap(key: string, load: () => unknown): Promise<unknown> }
  /** `wrap` of async-cache-dedupe, which stores in process or in Redis. */
  dedupe(isLocal: boolean, load: () => unknown): (key: string) => Promise<unknown>
  /** ioredis with its defaults, or with auto-pipelining, which ours has on. */
  raw(isPipelined: boolean): Redis
  stop(): Promise<void>
}

export async function openCaches (): Promise<Caches> {
  const server = await startRedis()
  return {
    url: server.url,
    async ours (local, tenants) {
      const cache = openCache(
        resolveCacheOptions({
          redis: openRedis(server.url),
          ttl: '1h',
          local: local === false ? false : { ttl: local }
        })
      )
      await cache.start()
      return Array.from(
        { length: tenants },
        (_, at) => cache.forScope(new TenantScope(toTenant({ id: `tenant-${at}`, slug: `t${at}` }), silent))
      )
    },
    bento (isLocal) {
      const layers = bentostore()
      if (isLocal) layers.useL1Layer(memoryDriver({ maxSize: 16 * 1_024 * 1_024 }))
      layers.useL2Layer(redisDriver({ connection: new Redis(server.url) }))
      const bento = new BentoCache({ default: 'store', ttl: '1h', stores: { store: layers } }).namespace(
        'tenant-1'
      )
      return {
        get: key => bento.get({ key }),
        wrap: (key, factory) => bento.getOrSet({ key, factory })
      }
    },
    dedupe (isLocal, load) {
      const cache = createCache({
        ttl: 3_600,
        storage: isLocal
          ? { type: 'memory', options: { size: 10_000 } }
          : { type: 'redis', options: { client: new Redis(server.url) as never } }
      }).define('load', async (_key: string) => load())
      return key => cache.load(key)
    },
    raw: isPipelined => new Redis(server.url, { enableAutoPipelining: isPipelined }),
    stop: () => server.stop()
  }
}
