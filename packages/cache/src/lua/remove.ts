import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/**
 * Replaces entries by a mark that lives for a minute: a load that began before it finds another entry than it saw,
 * and does not store its value. Deleting would leave "nothing", which is what that load saw.
 *
 * KEYS: epoch, entries…  ARGV: mark, its milliseconds.  Returns how many entries of the epoch there were.
 */
export const removeScript: RedisScript = defineScript(`
local epoch = redis.call('GET', KEYS[1])
local count = 0
for at = 2, #KEYS do
  if epoch and redis.call('GETRANGE', KEYS[at], 0, 15) == epoch then count = count + 1 end
  redis.call('SET', KEYS[at], ARGV[1], 'PX', ARGV[2])
end
return count
`)
