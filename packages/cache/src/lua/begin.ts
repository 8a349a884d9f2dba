import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/**
 * Reads the tokens that a load depends on, and creates missing ones. Without a token, a flush
 * during the load could not be distinguished from the first use.
 *
 * KEYS: generation, entry, tags…  ARGV: new token, its lifetime in ms.
 * Returns: generation, first 24 bytes of the entry, tag tokens…
 */
export const begin: RedisScript = defineScript(`
local function tokenAt(key)
  local found = redis.call('GET', key)
  if found then return found end
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
local state = { tokenAt(KEYS[1]), redis.call('GETRANGE', KEYS[2], 0, 23) }
for at = 3, #KEYS do state[at] = tokenAt(KEYS[at]) end
return state
`)
