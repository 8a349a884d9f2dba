import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

/**
 * Stores an entry under the current tokens. If the writer passes the state before its load, stores
 * it only if that state still holds. Tokens live at least as long as the entry, because a missing
 * token hides it.
 *
 * KEYS: generation, entry, tags…  ARGV: new token, its lifetime in ms, lifetime of the entry in ms,
 * id, header, payload.
 * For a load also: generation, first 24 bytes of the entry, tag tokens…
 * Returns 1 if stored.
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
