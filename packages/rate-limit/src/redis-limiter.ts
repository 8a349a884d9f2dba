import { defineScript, type RedisScript, type TenancyRedis } from '@fastify-tenancy/redis'

import type { Quota, Verdict } from './quota.ts'

/*
 * One round trip for all quotas of a request. KEYS: a ring each, of one hash slot. ARGV: the cost, then for each key
 * the bucket's width in ms, the slots, the limit and 1 for smoothing. Limits come with the request, so a reload acts
 * at once and the count goes on. A ring is [head bucket, total, counts…] in MessagePack, about 80 bytes.
 *
 * Time is the server's: clocks of processes differ. It never goes back for a ring, whatever the clock does.
 * A refused request writes nothing. A value that is not a ring of this shape counts as an empty one and is overwritten;
 * every write sets the TTL anew, so that a key that lost it heals.
 * The algorithm is SlidingWindow's (window.ts): change both or none.
 */
export const takeScript: RedisScript = defineScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local cost = tonumber(ARGV[1])

local function load (key, n, bucket)
  local ok, ring = pcall(cmsgpack.unpack, redis.pcall('GET', key))
  if ok and type(ring) == 'table' and #ring == n + 2 then return ring end
  ring = { bucket, 0 }
  for i = 3, n + 2 do ring[i] = 0 end
  return ring
end

local function advance (ring, n, bucket)
  for b = math.max(ring[1] + 1, bucket - n + 1), bucket do
    local slot = 3 + b % n
    ring[2] = ring[2] - ring[slot]
    ring[slot] = 0
  end
  ring[1] = math.max(ring[1], bucket)
end

local function waitFor (ring, n, width, excess, at, most)
  local bucket = ring[1]
  local part = 0
  while excess > 0 do
    local oldest = ring[3 + (bucket + 1) % n]
    if excess < oldest and excess <= most then
      part = excess / oldest
      break
    end
    excess = excess - oldest
    bucket = bucket + 1
  end
  return math.max(1, math.ceil((bucket + part) * width - at))
end

local function resetAfter (ring, n, width, at)
  if ring[2] == 0 then return 0 end
  local bucket = ring[1] + 1
  while ring[3 + bucket % n] == 0 do bucket = bucket + 1 end
  return math.ceil(bucket * width - at)
end

local windows = {}
local wait, refusedBy = 0, -1
for i, key in ipairs(KEYS) do
  local width, n = tonumber(ARGV[4 * i - 2]), ARGV[4 * i - 1] + 1
  local limit = tonumber(ARGV[4 * i])
  -- how much of the oldest bucket may be left out
  local most = ARGV[4 * i + 1] == '1' and limit * 0.04 or 0
  local bucket = math.floor(now / width)
  local ring = load(key, n, bucket)
  advance(ring, n, bucket)
  local at = math.max(now, ring[1] * width)
  local owed = math.min(cost, limit)
  local used = ring[2] - math.min(ring[3 + (ring[1] + 1) % n] * (at / width - ring[1]), most)
  if owed > 0 and used + owed > limit then
    local needed = waitFor(ring, n, width, ring[2] + owed - limit, at, most)
    if needed > wait then wait, refusedBy = needed, i - 1 end
  end
  windows[i] = { key = key, ring = ring, n = n, width = width, owed = owed, used = used, at = at }
end

local first = windows[1]
if wait == 0 and cost > 0 then
  for _, w in ipairs(windows) do
    local slot = 3 + w.ring[1] % w.n
    w.ring[slot] = w.ring[slot] + w.owed
    w.ring[2] = w.ring[2] + w.owed
    redis.call('SET', w.key, cmsgpack.pack(w.ring), 'PX', w.n * w.width)
  end
  first.used = first.used + first.owed
end
return { wait, refusedBy, math.ceil(first.used), resetAfter(first.ring, first.n, first.width, first.at) }
`)

/** Counts for all processes together, in Redis. Rejects when Redis does not answer; the caller must not repeat it. */
export class RedisLimiter {
  readonly #redis: TenancyRedis

  constructor (redis: TenancyRedis) {
    this.#redis = redis
  }

  async take (quotas: readonly Quota[], cost: number): Promise<Verdict> {
    const keys: string[] = []
    const args: number[] = [cost]
    for (const { key, limit, shape, smoothing } of quotas) {
      keys.push(key)
      args.push(shape.width, shape.slots, limit, smoothing ? 1 : 0)
    }
    const [wait, refusedBy, used, reset] = await this.#redis.run(takeScript, keys, args) as [number, number, number, number]
    return { wait, refusedBy, used, reset }
  }
}
