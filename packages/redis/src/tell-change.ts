import type { TenantChange } from '@fastify-tenancy/core'
import { invalidationChannel, lookupKey } from '@fastify-tenancy/core/keys'
import { randomBytes } from 'node:crypto'

import type { TenancyRedis } from './port.ts'

/**
 * Lifetime of a mark in milliseconds. It prevents older reads from being stored, so it is longer
 * than any look-up may take.
 */
const markLife = 60_000

/**
 * Puts a mark in the place of each record of a tenant: `SET … PX 60000`. A look-up that began
 * before cannot overwrite it.
 *
 * @throws FST_TENANCY_REDIS_UNAVAILABLE
 */
export async function markChange (redis: TenancyRedis, { id, slugs, domains }: TenantChange): Promise<void> {
  const keys = [
    lookupKey('id', id),
    ...slugs.map(slug => lookupKey('slug', slug)),
    ...domains.map(domain => lookupKey('domain', domain))
  ]
  await Promise.all(keys.map(key => redis.set(key, newMark(), markLife)))
}

/**
 * Announces a marked change to every process: `PUBLISH tenancy:<installation>:invalidate`.
 *
 * @throws FST_TENANCY_REDIS_UNAVAILABLE
 */
export async function publishChange (
  redis: TenancyRedis,
  { id, slugs, domains }: TenantChange
): Promise<void> {
  await redis.publish(invalidationChannel, JSON.stringify({ id, slugs, domains }))
}

/** Whether this value is a mark instead of a record. */
export function isMark (text: string): boolean {
  return text.startsWith('-')
}

function newMark (): string {
  return `-${randomBytes(8).toString('base64url')}`
}
