import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/** Deletes a lock if it is still the caller's.  KEYS: lock.  ARGV: its token. */
export const unlock: RedisScript = defineScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)
