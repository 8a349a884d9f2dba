// Keyv's own suite on a tenant's cache. Each store has a cache of its own tenant, so that its clear() is seen by no other test.
import keyvTestSuite from '@keyv/test-suite'
import { openCache, resolveCacheOptions } from '@fastify-tenancy/cache'
import { createTenant, TenantScope } from '@fastify-tenancy/core'
import { Keyv } from 'keyv-tested'
import * as test from 'vitest'

const redis = process.env.REDIS_URL ? { redis: { host: new URL(process.env.REDIS_URL).hostname, port: Number(new URL(process.env.REDIS_URL).port), keyPrefix: `keyv${process.pid}:` } } : {}
const caches = openCache(resolveCacheOptions(redis))
await caches.start()
test.afterAll(() => caches.close())

const scope = new TenantScope(createTenant({ id: 'acme', slug: 'acme' }), { info () {}, warn () {}, error () {} })
const cache = caches.forScope(scope)
const store = cache.toKeyv()

test.describe('a tenant’s cache named by Keyv', () => { keyvTestSuite(test, Keyv, () => cache.toKeyv()) })
test.describe('one store for all', () => { keyvTestSuite(test, Keyv, () => store) })
