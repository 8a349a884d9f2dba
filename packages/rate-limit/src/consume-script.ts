import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

import { fastPath } from './lua/fast-path.ts'
import { ringFunctions } from './lua/ring.ts'

/**
 * Checks and counts requests against all quotas in one round trip. KEYS: one ring per quota, all in
 * one hash slot. The algorithm is that of SlidingWindow (window.ts): change both or neither.
 *
 * ARGV:
 * - the cost, and the number of requests that ask together (batched-consumes.ts); the script admits
 *   as many as sequential calls would
 * - for each key: bucket width in ms, slots, limit, 1 for smoothing, lots, number of corrections,
 *   and each correction as bucket and amount
 * - the sender, the number of this send, the number up to which the sender knows the outcome of its
 *   sends, the usual last byte of the list of sends, and 1 if doubts follow
 * - the doubts of each key: their count, and for each its number, its count of corrections, and the
 *   corrections
 *
 * Limits are arguments, so a reload takes effect at once and the counts continue.
 *
 * A ring is a string. It begins with five doubles: head bucket, total, count of the head, oldest
 * bucket with a count, and width × 65536 + buckets. Then follow the length of the list of sends (2
 * bytes), the list, and the counts of the buckets (4 bytes each). Within one bucket the script
 * reads and writes only the part before the counts, in place.
 *
 * The list of sends has an entry per sender: its name (8 bytes), the number of its last send that
 * wrote, and receipts of sends whose outcome it may not know. A receipt is number, bucket and
 * tokens. A send with an older number has no effect ('late').
 *
 * A doubt is a send whose reply was lost. If it has a receipt, its tokens are returned, because the
 * sender decided about those requests itself. If not, it was never executed, and its corrections
 * are made now. Then the receipt is marked as settled, for other sends that carry the same doubt.
 *
 * Time is the server's, because clocks of processes differ:
 * - If the server's clock was set back, the ring moves with it, and nothing leaves early.
 * - A refused request writes nothing of its own.
 * - A value that is not a ring counts as an empty ring and is overwritten.
 * - A ring of another shape (during a rolling deploy) is converted.
 * - A total that the counts do not confirm refuses no request.
 * - Each new bucket sets the TTL again, which repairs a key without TTL.
 * - Every loop is bounded by the number of buckets.
 *
 * Lots: 2 × processes requests a lease, 0 requests none. With a lease, an admitted request takes a
 * batch of clamp(floor(left / lots), 1, 5 % of the limit) tokens in total. The process spends them
 * without asking (leased-counters.ts).
 *
 * Corrections: changes that the sender has to report. They are applied before the request is
 * checked. A correction to a future bucket counts now; one to a bucket outside the window is
 * dropped.
 */
export const consumeScript: RedisScript = defineScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local cost, asking = tonumber(ARGV[1]), tonumber(ARGV[2])
local cursor = 3
local tail = 3
for _ = 1, #KEYS do tail = tail + 6 + 2 * ARGV[tail + 5] end
local sender, seq, acked, listEnd, hasDoubts = nil, 0, 0, '41', false
if ARGV[tail + 4] then
  sender, seq, acked = ARGV[tail], tonumber(ARGV[tail + 1]), tonumber(ARGV[tail + 2])
  listEnd, hasDoubts = ARGV[tail + 3], ARGV[tail + 4] == '1'
  tail = tail + 5
end
${fastPath}
${ringFunctions}
local windows = {}
local admitted = asking
for i = 1, #KEYS do
  local key = KEYS[i]
  local width, n, limit = tonumber(ARGV[cursor]), ARGV[cursor + 1] + 1, tonumber(ARGV[cursor + 2])
  -- how much of the oldest bucket may be subtracted
  local most = ARGV[cursor + 3] == '1' and limit * 0.04 or 0
  local lots, corrections = tonumber(ARGV[cursor + 4]), tonumber(ARGV[cursor + 5])
  cursor = cursor + 6
  local bucket = math.floor(now / width)
  local value = redis.pcall('GETRANGE', key, '0', listEnd)
  local ring = {
    key = key, n = n, width = width, limit = limit, most = most,
    head = bucket, total = 0, newest = 0, oldest = bucket, counts = false, length = 0,
    owed = math.min(cost, limit), used = 0, at = 0, batch = 0, isWhole = false, isChanged = corrections > 0
  }
  local isRing = false
  if type(value) == 'string' and #value >= fixed then
    local head, total, newest, oldest, shape, length = struct.unpack('<dddddI2', value)
    local isSound = (head + total + newest + oldest + shape) % 1 == 0 and newest >= 0 and newest <= total
    if isSound and oldest <= head and total < 9e15 and head < 9e15 and oldest > -9e15 then
      ring.length = length
      if sender and length > 0 and findEntry(ring, value) then return 'late' end
      if shape == width * 65536 + n then
        isRing = true
        ring.head, ring.total, ring.newest, ring.oldest = head, total, newest, math.max(oldest, head + 1 - n)
        if bucket > head then advance(ring, bucket) elseif bucket < head then moveBack(ring, bucket) end
      else
        ring.counts, ring.isWhole, isRing = string.rep('\\0', 4 * n), true, true
        convert(ring, head, newest, shape)
      end
    end
  end
  if not isRing then ring.counts, ring.isWhole = string.rep('\\0', 4 * n), true end
  if hasDoubts then settleDoubts(ring) end
  for _ = 1, corrections do
    correct(ring, tonumber(ARGV[cursor]), tonumber(ARGV[cursor + 1]))
    cursor = cursor + 2
  end
  if ring.isChanged then findOldest(ring) end
  ring.at = math.max(now, ring.head * width)
  measure(ring)
  if ring.owed > 0 and ring.used + asking * ring.owed > limit then
    verify(ring)
    if ring.isChanged then findOldest(ring) end
    measure(ring)
  end
  if ring.owed > 0 then
    admitted = math.min(admitted, math.max(0, math.floor((limit - ring.used) / ring.owed)))
  end
  if lots > 0 then
    local left = math.floor(limit - ring.used)
    ring.batch = math.min(left, math.max(1, math.min(math.floor(left / lots), math.floor(limit * 0.05))))
  end
  windows[i] = ring
end

local isCounted = admitted > 0 and cost > 0
local wait, limitedBy, extras = 0, -1, ''
for i, ring in ipairs(windows) do
  local extra, taken = 0, 0
  if isCounted then
    extra = math.max(0, ring.batch - ring.owed)
    taken = admitted * ring.owed + extra
    add(ring, ring.head, taken)
    ring.used = ring.used + admitted * ring.owed
  end
  if admitted < asking and ring.owed > 0 and ring.used + ring.owed > ring.limit then
    local needed = waitFor(ring)
    if needed > wait then wait, limitedBy = needed, i - 1 end
  end
  if isCounted or ring.isChanged then write(ring, taken) end
  extras = extras .. ' ' .. extra
end
local first = windows[1]
local reset = first.total == 0 and 0 or math.ceil((first.oldest + first.n) * first.width - first.at)
-- one string, because clients parse a list of numbers more slowly than they split a string
return admitted .. ' ' .. wait .. ' ' .. limitedBy .. ' ' .. math.ceil(first.used) .. ' ' .. reset
  .. ' ' .. time[1] .. ' ' .. time[2] .. extras
`)
