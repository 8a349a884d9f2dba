import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/**
 * Replaces entries by a mark with a lifetime of a minute. A load that began before then finds
 * another entry and does not store its value. A deleted key would look as it did to that load.
 *
 * KEYS: generation, entries…  ARGV: mark, its lifetime in ms.
 * Returns how many entries of the generation there were.
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
