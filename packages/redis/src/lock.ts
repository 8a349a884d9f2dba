import { randomBytes } from 'node:crypto'

import type { TenancyRedis } from './port.ts'
import { defineScript } from './script.ts'

/**
 * Acquires a lock if it is free.  KEYS: lock.  ARGV: token, milliseconds.  Returns 1 if acquired.
 */
const take = defineScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
return 0
`)

/** Deletes a lock if the caller still holds it.  KEYS: lock.  ARGV: its token. */
const giveBack = defineScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)

/**
 * Acquires a lock over all processes: `SET key token PX ttl NX`. It only saves duplicate work and
 * is no mutual exclusion, because it expires even if the work is not finished.
 *
 * @param ttl milliseconds until it expires, unless it is released.
 * @returns the function that releases it if it is still ours; undefined while another caller holds
 * it.
 * @throws FST_TENANCY_REDIS_UNAVAILABLE
 */
export async function acquireRedisLock (
  redis: TenancyRedis,
  key: string,
  ttl: number
): Promise<(() => Promise<void>) | undefined> {
  const token = randomBytes(12).toString('base64url')
  if (await redis.run(take, [key], [token, ttl]) !== 1) return undefined
  return async () => {
    await redis.run(giveBack, [key], [token])
  }
}
