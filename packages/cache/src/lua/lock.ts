import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/** Takes a lock if nobody has it.  KEYS: lock.  ARGV: token, milliseconds.  Returns 1 if taken. */
export const lock: RedisScript = defineScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end
return 0
`)
