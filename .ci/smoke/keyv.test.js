// Keyv's own suite on a tenant's cache, with a store for each Keyv: of two Keyvs on one store object the second sets the
// namespace of both.
import keyvTestSuite from '@keyv/test-suite'
import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import { toTenant } from '@fastify-tenancy/core'
import { TenantScope } from '@fastify-tenancy/core/scope'
import { Keyv } from 'keyv-tested'
import * as test from 'vitest'

const { hostname, port } = process.env.REDIS_URL ? new URL(process.env.REDIS_URL) : {}
const redis = hostname
  ? { redis: { host: hostname, port: Number(port) }, namespace: `keyv${process.pid}` }
  : {}
const caches = openCache(resolveCacheOptions(redis))
await caches.start()
test.afterAll(() => caches.close())

const scope = new TenantScope(toTenant({ id: 'acme', slug: 'acme' }), { info () {}, warn () {}, error () {} })
const cache = caches.forScope(scope)

test.describe('a tenant’s cache named by Keyv', () => { keyvTestSuite(test, Keyv, () => cache.toKeyv()) })
