import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/**
 * Stores an entry under the present tokens, or, where the writer names the state before its load, only if that still holds.
 * Tokens are made to live as long as the entry, since a missing one hides it.
 *
 * KEYS: epoch, entry, tags…  ARGV: new token, its milliseconds, milliseconds of the entry, id, header, payload,
 * and where it is a load: epoch, first 24 bytes of the entry, tag tokens…  Returns 1 if stored.
 */
export const write: RedisScript = defineScript(`
local isLoad = #ARGV > 6
if isLoad then
  if redis.call('GET', KEYS[1]) ~= ARGV[7] then return 0 end
  if redis.call('GETRANGE', KEYS[2], 0, 23) ~= ARGV[8] then return 0 end
  for at = 3, #KEYS do
    if redis.call('GET', KEYS[at]) ~= ARGV[at + 6] then return 0 end
  end
end
local life = math.max(tonumber(ARGV[2]), tonumber(ARGV[3]))
local function tokenAt(key)
  local found = redis.call('GET', key)
  if not found then
    redis.call('SET', key, ARGV[1], 'PX', life)
    return ARGV[1]
  end
  if redis.call('PTTL', key) < tonumber(ARGV[3]) then redis.call('PEXPIRE', key, life) end
  return found
end
local head = { tokenAt(KEYS[1]), ARGV[4] }
for at = 3, #KEYS do head[at] = tokenAt(KEYS[at]) end
redis.call('SET', KEYS[2], table.concat(head) .. ARGV[5] .. '\\n' .. ARGV[6], 'PX', ARGV[3])
return 1
`)
