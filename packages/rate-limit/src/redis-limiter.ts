import { defineScript, type RedisScript, type TenancyRedis } from '@fastify-tenancy/redis'

import { GatheredTakes } from './gathered-takes.ts'
import type { Quota, Verdict } from './quota.ts'

/*
 * One round trip for all quotas of a request. KEYS: a ring each, of one hash slot. ARGV: the cost, how many such requests
 * ask together (gathered-takes.ts: as many are admitted as would be one after another), then for each key the bucket's width in ms, the slots, the limit, 1 for smoothing, the lots (below), and how many corrections follow,
 * each a bucket and what to add to it. Limits come with the request, so a reload acts at once and the count goes on.
 * A ring is a string of 32 + 4 × buckets bytes: the head bucket, the total, the head's count and the oldest bucket that
 * counts anything, as doubles, then the counts of the other buckets. Within one bucket only the first four are read and written, in place.
 *
 * Time is the server's: clocks of processes differ. It never goes back for a ring, whatever the clock does.
 * A refused request writes nothing of its own. A value that is no ring counts as an empty one and is overwritten;
 * each new bucket sets the TTL anew, so that a key that lost it heals.
 * The algorithm is SlidingWindow's (window.ts): change both or none.
 *
 * Lots: 2 × processes asks for a lease, 0 for none. An admitted request then takes a batch of tokens in all,
 * clamp(floor(left / lots), 1, 5 % of the limit), which its process may spend without asking (accounts.ts).
 * Corrections: what this process knows better by now. They come before the request is judged. One whose bucket is
 * still to come by the server's clock counts now; one that has left the window is forgotten.
 */
export const takeScript: RedisScript = defineScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local cost, asking = tonumber(ARGV[1]), tonumber(ARGV[2])
local cursor = 3

local function load (ring)
  if ring.counts then return end
  ring.counts = redis.call('GETRANGE', ring.key, 32, -1)
  if #ring.counts ~= 4 * ring.n then ring.counts, ring.isWhole = string.rep('\\0', 4 * ring.n), true end
end

local function get (ring, bucket)
  if bucket == ring.head then return ring.newest end
  load(ring)
  return (struct.unpack('<I4', ring.counts, 1 + 4 * (bucket % ring.n)))
end

local function put (ring, bucket, count)
  if bucket == ring.head then
    ring.newest = count
    return
  end
  load(ring)
  local at = 4 * (bucket % ring.n)
  ring.counts = string.sub(ring.counts, 1, at) .. struct.pack('<I4', count) .. string.sub(ring.counts, at + 5)
  ring.isWhole = true
end

local function add (ring, bucket, count)
  local before = get(ring, bucket)
  -- less than nothing would let others pass the limit: the ring that held the count was lost
  local change = math.max(count, -before)
  if change > 0 and (ring.total == 0 or bucket < ring.oldest) then ring.oldest = bucket end
  ring.total = ring.total + change
  put(ring, bucket, before + change)
end

local function findOldest (ring)
  while ring.total > 0 and ring.oldest < ring.head and (ring.oldest <= ring.head - ring.n or get(ring, ring.oldest) == 0) do ring.oldest = ring.oldest + 1 end
end

local function advance (ring, bucket)
  if bucket >= ring.head + ring.n then
    ring.total = 0
    ring.counts = string.rep('\\0', 4 * ring.n)
  else
    local first, newest = ring.head + 1, ring.newest
    ring.head = bucket + 1
    put(ring, first - 1, newest)
    for b = first, bucket do
      local gone = get(ring, b)
      if gone > 0 then
        ring.total = ring.total - gone
        put(ring, b, 0)
      end
    end
  end
  ring.head, ring.newest, ring.isWhole = bucket, 0, true
  findOldest(ring)
end

-- milliseconds until one more would fit, if nothing else came
local function waitFor (ring)
  local excess, b, part = ring.total + ring.owed - ring.limit, ring.head, 0
  while excess > 0 do
    local leaving = get(ring, b + 1 - ring.n)
    if excess < leaving and excess <= ring.most then
      part = excess / leaving
      break
    end
    excess = excess - leaving
    b = b + 1
  end
  return math.max(1, math.ceil((b + part) * ring.width - ring.at))
end

local windows = {}
local admitted = asking
for i = 1, #KEYS do
  local key = KEYS[i]
  local width, n, limit = tonumber(ARGV[cursor]), ARGV[cursor + 1] + 1, tonumber(ARGV[cursor + 2])
  -- how much of the oldest bucket may be left out
  local most = ARGV[cursor + 3] == '1' and limit * 0.04 or 0
  local lots, corrections = tonumber(ARGV[cursor + 4]), tonumber(ARGV[cursor + 5])
  cursor = cursor + 6
  local bucket = math.floor(now / width)
  local value = redis.pcall('GETRANGE', key, 0, 31)
  local head, total, newest, oldest
  if type(value) == 'string' and #value == 32 then head, total, newest, oldest = struct.unpack('<dddd', value) end
  local ring = { key = key, n = n, width = width, limit = limit, most = most, head = bucket, total = 0, newest = 0, oldest = bucket, counts = false, isWhole = false, owed = math.min(cost, limit), used = 0, at = 0, batch = 0, isChanged = corrections > 0 }
  if head and head % 1 == 0 and oldest <= head and newest <= total then
    ring.head, ring.total, ring.newest, ring.oldest = head, total, newest, oldest
    if bucket > head then advance(ring, bucket) end
  else
    ring.counts, ring.isWhole = string.rep('\\0', 4 * n), true
  end
  for _ = 1, corrections do
    local at, count = math.min(ARGV[cursor], ring.head), tonumber(ARGV[cursor + 1])
    if at > ring.head - n then add(ring, at, count) end
    cursor = cursor + 2
  end
  if corrections > 0 then findOldest(ring) end
  ring.at = math.max(now, ring.head * width)
  ring.used = ring.total
  if most > 0 then ring.used = ring.used - math.min(get(ring, ring.head + 1 - n) * (ring.at / width - ring.head), most) end
  if ring.owed > 0 then admitted = math.min(admitted, math.max(0, math.floor((limit - ring.used) / ring.owed))) end
  if lots > 0 then
    local left = math.floor(limit - ring.used)
    ring.batch = math.min(left, math.max(1, math.min(math.floor(left / lots), math.floor(limit * 0.05))))
  end
  windows[i] = ring
end

local isCounted = admitted > 0 and cost > 0
local wait, refusedBy, extras = 0, -1, ''
for i, ring in ipairs(windows) do
  local extra = 0
  if isCounted then
    extra = math.max(0, ring.batch - ring.owed)
    add(ring, ring.head, admitted * ring.owed + extra)
    ring.used = ring.used + admitted * ring.owed
  end
  if admitted < asking and ring.owed > 0 and ring.used + ring.owed > ring.limit then
    local needed = waitFor(ring)
    if needed > wait then wait, refusedBy = needed, i - 1 end
  end
  if isCounted or ring.isChanged then
    local value = struct.pack('<dddd', ring.head, ring.total, ring.newest, ring.oldest)
    if ring.isWhole then
      redis.call('SET', ring.key, value .. ring.counts, 'PX', ring.n * ring.width)
    else
      redis.call('SETRANGE', ring.key, 0, value)
    end
  end
  extras = extras .. ' ' .. extra
end
local first = windows[1]
local reset = first.total == 0 and 0 or math.ceil((first.oldest + first.n) * first.width - first.at)
-- one string: clients take numbers apart more slowly than they split
return admitted .. ' ' .. wait .. ' ' .. refusedBy .. ' ' .. math.ceil(first.used) .. ' ' .. reset .. ' ' .. now .. extras
`)

const none: readonly number[] = []

/** One counter of a request, and what else its process has to say of it. */
export interface Asked {
  readonly quota: Quota
  /** 2 × processes to lease a batch of tokens, 0 for none. */
  readonly lots: number
  /** Bucket, count, bucket, count, …: what to add to the counter first. */
  readonly corrections: readonly number[]
}

/** A verdict of all processes together. */
export interface SharedVerdict extends Verdict {
  /** How many of those who asked together are admitted; `used` counts them all, `wait` is the others'. */
  readonly admitted: number
  /** The server's clock, in milliseconds. */
  readonly now: number
  /** The tokens that were leased of each counter, beyond the request's own. */
  readonly extras: readonly number[]
}

/** Counts for all processes together, in Redis. Rejects when Redis does not answer; the caller must not repeat it. */
export class RedisLimiter {
  readonly #redis: TenancyRedis
  readonly #now: () => number
  readonly #gathered = new GatheredTakes((quotas, cost, asking) => this.take(quotas.map(quota => ({ quota, lots: 0, corrections: none })), cost, asking))
  #ahead = performance.timeOrigin

  /** @param now milliseconds of a clock that does not go back. */
  constructor (redis: TenancyRedis, now: () => number) {
    this.#redis = redis
    this.#now = now
  }

  /** The server's clock minus ours, never too small; as long as the server was not heard of, the wall clock minus ours. */
  get ahead (): number {
    return this.#ahead
  }

  /** Whether a question would be sent now; one that is not sent has taken no effect. */
  get isAvailable (): boolean {
    return this.#redis.isAvailable
  }

  /** Asks for a request, and for no lease. */
  takePlain (quotas: readonly Quota[], cost: number): Promise<Verdict> {
    return this.#gathered.take(quotas, cost)
  }

  /** Asks for so many requests of this cost. */
  take (asked: readonly Asked[], cost: number, asking = 1): Promise<SharedVerdict> {
    const keys: string[] = []
    const args: number[] = [cost, asking]
    for (const { quota: { key, limit, shape, smoothing }, lots, corrections } of asked) {
      keys.push(key)
      args.push(shape.width, shape.slots, limit, smoothing ? 1 : 0, lots, corrections.length / 2, ...corrections)
    }
    const sentAt = this.#now()
    return this.#redis.run(takeScript, keys, args).then(reply => {
      const verdict = parse(reply)
      this.#ahead = verdict.now - sentAt
      return verdict
    })
  }
}

function parse (reply: unknown): SharedVerdict {
  const [admitted = 0, wait = 0, refusedBy = 0, used = 0, reset = 0, now = 0, ...extras] = String(reply).split(' ').map(Number)
  return { admitted, wait, refusedBy, used, reset, now, extras }
}
