import { randomBytes } from 'node:crypto'

import type { TenancyRedis } from './port.ts'
import { defineScript } from './script.ts'

/** Takes a lock if nobody has it.  KEYS: lock.  ARGV: token, milliseconds.  Returns 1 if taken. */
const take = defineScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
return 0
`)

/** Deletes a lock if it is still the caller's.  KEYS: lock.  ARGV: its token. */
const giveBack = defineScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)

/**
 * Takes a lock over all processes: `SET key token PX ttl NX`. It saves work and guards nothing: it ends by itself, whether the work has or not.
 *
 * @param ttl milliseconds until it ends, unless it is given back.
 * @returns the function that gives it back, if it is still ours; undefined while another has it.
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
