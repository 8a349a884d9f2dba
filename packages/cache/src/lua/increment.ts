import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/**
 * Adds to a whole number. An entry of another generation counts as missing. An entry with tags or a
 * stale time, or without a number, is refused. The sum is not signed, because the server has no
 * key.
 *
 * KEYS: generation, entry.  ARGV: new token, its lifetime in ms, lifetime of a new entry in ms, id,
 * amount.
 * Returns the sum as text, or nil if the entry is not a whole number or the sum exceeds 2^53.
 */
export const increment: RedisScript = defineScript(`
local epoch = redis.call('GET', KEYS[1])
local life = math.max(tonumber(ARGV[2]), tonumber(ARGV[3]))
if not epoch then
  epoch = ARGV[1]
  redis.call('SET', KEYS[1], epoch, 'PX', life)
elseif redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], life)
end
local sum = tonumber(ARGV[5])
local isNew = redis.call('GETRANGE', KEYS[2], 0, 15) ~= epoch
if not isNew then
  local number = string.match(redis.call('GETRANGE', KEYS[2], 24, 127), '^[^%[\\n]*\\n(-?%d+)$')
  if not number then return nil end
  sum = sum + tonumber(number)
end
if math.abs(sum) > 9007199254740991 then return nil end
local text = string.format('%.0f', sum)
local entry = epoch .. ARGV[4] .. 'n\\n' .. text
if isNew then redis.call('SET', KEYS[2], entry, 'PX', ARGV[3])
else redis.call('SET', KEYS[2], entry, 'KEEPTTL') end
return text
`)
