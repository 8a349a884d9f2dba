import { defineScript, type RedisScript } from '@fastify-tenancy/redis'

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
-- Fast path of nearly every send: one counter admits all requests, in its current bucket. It precedes the
-- functions, because Redis creates them again in each run. It writes everything or nothing, and the rest
-- handles all other cases. Offsets and the time stay text, because converting numbers to text is slow.
if sender and not KEYS[2] and not hasDoubts and cost > 0 and ARGV[8] == '0' then
  local key, width, n, limit = KEYS[1], tonumber(ARGV[3]), ARGV[4] + 1, tonumber(ARGV[5])
  local isSmooth, lots = ARGV[6] == '1', tonumber(ARGV[7])
  local value = redis.pcall('GETRANGE', key, '0', isSmooth and '-1' or listEnd)
  local at = type(value) == 'string' and string.find(value, sender, 43, true)
  if at and at + 56 <= #value then
    local head, total, newest, oldest, shape, length = struct.unpack('<dddddI2', value)
    local last, places = struct.unpack('<dB', value, at + 8)
    local finish, kept, count = at + 16 + 20 * places, '', 1
    if head == math.floor(now / width) and shape == width * 65536 + n and last < seq and last % 1 == 0
      and finish <= #value and finish <= 42 + length and (not isSmooth or #value == 42 + length + 4 * n)
      and (total + newest + oldest) % 1 == 0 and newest >= 0 and newest <= total and total < 9e15
      and oldest <= head and oldest > -9e15 then
      if last > acked then
        for from = at + 17, finish - 19, 20 do
          local number, bucket = struct.unpack('<dd', value, from)
          if number > acked and number < seq and bucket % 1 == 0 then
            kept, count = kept .. string.sub(value, from, from + 19), count + 1
          end
        end
      end
      local owed, used = math.min(cost, limit), total
      if isSmooth then
        local leaving = struct.unpack('<I4', value, 43 + length + 4 * ((head + 1 - n) % n))
        used = total - math.min(leaving * (now / width - head), limit * 0.04)
      end
      if owed > 0 and used + asking * owed <= limit and count <= places then
        local extra = 0
        if lots > 0 then
          local left = math.floor(limit - used)
          local share = math.min(math.floor(left / lots), math.floor(limit * 0.05))
          local batch = math.min(left, math.max(1, share))
          extra = math.max(0, batch - owed)
        end
        local taken = asking * owed + extra
        oldest = total == 0 and head or math.max(oldest, head + 1 - n)
        local header = struct.pack('<dddddI2', head, total + taken, newest + taken, oldest, shape, length)
        local entry = struct.pack('<c8dB', sender, seq, places) .. kept
          .. struct.pack('<ddI4', seq, head, taken)
          .. string.rep('\\0', 20 * (places - count))
        if at == 43 then
          redis.call('SETRANGE', key, '0', header .. entry)
        else
          redis.call('SETRANGE', key, '0', header)
          redis.call('SETRANGE', key, at - 1, entry)
        end
        local reset = math.ceil((oldest + n) * width - now)
        return ARGV[2] .. ' 0 -1 ' .. math.ceil(used + asking * owed) .. ' ' .. reset
          .. ' ' .. time[1] .. ' ' .. time[2]
          .. (extra == 0 and ' 0' or ' ' .. extra)
      end
    end
  end
end

-- bytes before the list of sends
local fixed = 42
-- stands in place of the tokens in a receipt whose doubt another send has settled
local settled = 4294967295

local function load (ring)
  if ring.counts then return end
  ring.counts = redis.call('GETRANGE', ring.key, fixed + ring.length, -1)
  if #ring.counts ~= 4 * ring.n then
    ring.counts = string.rep('\\0', 4 * ring.n)
    ring.total, ring.newest, ring.oldest, ring.isWhole = 0, 0, ring.head, true
  end
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
  -- never below 0, which would let other requests exceed the limit: the ring with this count was lost
  local change = math.max(count, -before)
  if change > 0 and (ring.total == 0 or bucket < ring.oldest) then ring.oldest = bucket end
  ring.total = ring.total + change
  put(ring, bucket, before + change)
end

local function correct (ring, bucket, count)
  local at = math.min(bucket, ring.head)
  if at > ring.head - ring.n then add(ring, at, count) end
end

-- sets the total to the sum of the counts
local function verify (ring)
  load(ring)
  local total, own = ring.newest, ring.head % ring.n
  for slot = 0, ring.n - 1 do
    if slot ~= own then total = total + struct.unpack('<I4', ring.counts, 1 + 4 * slot) end
  end
  if total ~= ring.total then
    ring.total, ring.oldest, ring.isChanged = total, ring.head + 1 - ring.n, true
  end
end

local function findOldest (ring)
  ring.oldest = math.min(ring.head, math.max(ring.oldest, ring.head + 1 - ring.n))
  while ring.total > 0 and ring.oldest < ring.head and get(ring, ring.oldest) == 0 do
    ring.oldest = ring.oldest + 1
  end
end

local function advance (ring, bucket)
  if bucket >= ring.head + ring.n then
    ring.total = 0
    ring.counts = string.rep('\\0', 4 * ring.n)
  else
    verify(ring)
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

-- the clock was set back: all counts keep their distance from the head
local function moveBack (ring, bucket)
  load(ring)
  local back = ring.head - bucket
  local at = 4 * (back % ring.n)
  ring.counts = string.sub(ring.counts, at + 1) .. string.sub(ring.counts, 1, at)
  ring.head, ring.oldest, ring.isWhole, ring.isChanged = bucket, ring.oldest - back, true, true
  for _, receipt in ipairs(ring.receipts or {}) do receipt[2] = receipt[2] - back end
end

-- converts a ring of another shape: each count moves to the bucket that contains the middle of its old one,
-- so converting back restores it
local function convert (ring, head, newest, shape)
  local n = shape % 65536
  local width, bucket = (shape - n) / 65536, ring.head
  if n < 2 or n > 4096 or width < 1 or width % 1 ~= 0 then return end
  local counts = redis.call('GETRANGE', ring.key, fixed + ring.length, -1)
  if #counts ~= 4 * n then return end
  for b = head, head + 1 - n, -1 do
    local count = b == head and newest or struct.unpack('<I4', counts, 1 + 4 * (b % n))
    local to = math.min(bucket, math.floor((b + 0.5) * width / ring.width))
    if count > 0 and to > bucket - ring.n then add(ring, to, count) end
  end
  for _, receipt in ipairs(ring.receipts or {}) do
    receipt[2] = math.floor((receipt[2] + 0.5) * width / ring.width)
  end
  -- so that a refused request writes the ring too, because the counts age from now on
  ring.isChanged = true
end

local function readReceipts (ring, value, at)
  ring.receipts = {}
  for place = 0, ring.places - 1 do
    local number, bucket, taken = struct.unpack('<ddI4', value, at + 17 + 20 * place)
    if number > acked and number < seq and bucket % 1 == 0 then
      table.insert(ring.receipts, { number, bucket, taken })
    end
  end
end

-- finds this sender's entry in the list; returns true if this send arrives too late
local function findEntry (ring, value)
  local finish = fixed + ring.length
  if #value < finish then value = redis.call('GETRANGE', ring.key, 0, finish - 1) end
  finish = math.min(finish, #value)
  local at = string.find(value, sender, fixed + 1, true)
  if not at or at + 16 > finish then return false end
  local last, places = struct.unpack('<dB', value, at + 8)
  if at + 16 + 20 * places > finish then return false end
  ring.entry, ring.places = at - 1, places
  -- overwritten, because no send is overtaken by so many
  if last % 1 ~= 0 or last > seq + 10000 then return false end
  if last > acked or hasDoubts then readReceipts(ring, value, at) end
  return last >= seq
end

-- returns this sender's new entry in the list
local function newEntry (ring, taken)
  local kept, count = '', 1
  for i = ring.receipts and #ring.receipts or 0, 1, -1 do
    local number, bucket, tokens = unpack(ring.receipts[i])
    if count < 64 then kept, count = struct.pack('<ddI4', number, bucket, tokens) .. kept, count + 1 end
  end
  local places = math.max(2, count, ring.isWhole and 0 or ring.places or 0)
  local own = struct.pack('<ddI4', seq, ring.head, taken)
  return sender .. struct.pack('<dB', seq, places) .. kept .. own .. string.rep('\\0', 20 * (places - count))
end

-- returns the list of other senders; the longest silent ones come first and are removed if the list is long
local function others (ring)
  if ring.length == 0 then return '' end
  local sends = redis.call('GETRANGE', ring.key, fixed, fixed + ring.length - 1)
  if ring.entry then
    local at = ring.entry - fixed
    sends = string.sub(sends, 1, at) .. string.sub(sends, at + 18 + 20 * ring.places)
  end
  for _ = 1, 64 do
    if #sends <= 4096 then break end
    sends = string.sub(sends, 18 + 20 * string.byte(sends, 17))
  end
  return sends
end

local function header (ring, length)
  local shape = ring.width * 65536 + ring.n
  return struct.pack('<dddddI2', ring.head, ring.total, ring.newest, ring.oldest, shape, length)
end

local function write (ring, taken)
  local entry = sender and newEntry(ring, taken) or ''
  if not ring.isWhole and (not sender or ring.entry and #entry == 17 + 20 * ring.places) then
    if ring.entry == fixed then
      redis.call('SETRANGE', ring.key, 0, header(ring, ring.length) .. entry)
    else
      redis.call('SETRANGE', ring.key, 0, header(ring, ring.length))
      if sender then redis.call('SETRANGE', ring.key, ring.entry, entry) end
    end
    return
  end
  load(ring)
  -- the counts had another length, so load() replaced them
  if ring.total == 0 and taken > 0 then ring.total, ring.newest = taken, taken end
  local sends = others(ring) .. entry
  redis.call('SET', ring.key, header(ring, #sends) .. sends .. ring.counts, 'PX', ring.n * ring.width)
end

local function settleDoubts (ring)
  ring.receipts = ring.receipts or {}
  local known = {}
  for _, receipt in ipairs(ring.receipts) do known[receipt[1]] = receipt end
  local count = tonumber(ARGV[tail])
  tail = tail + 1
  if count > 0 then ring.isChanged = true end
  for _ = 1, count do
    local number, corrections = tonumber(ARGV[tail]), tonumber(ARGV[tail + 1])
    local receipt = known[number]
    tail = tail + 2
    for _ = 1, corrections do
      if not receipt then correct(ring, tonumber(ARGV[tail]), tonumber(ARGV[tail + 1])) end
      tail = tail + 2
    end
    if not receipt then
      table.insert(ring.receipts, { number, 0, settled })
    elseif receipt[3] ~= settled then
      correct(ring, receipt[2], -receipt[3])
      receipt[3] = settled
    end
  end
end

-- returns the milliseconds until one more would fit, if no other request came
local function waitFor (ring)
  local excess, b, part = ring.total + ring.owed - ring.limit, ring.head, 0
  for _ = 1, ring.n do
    if excess <= 0 then break end
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

local function measure (ring)
  ring.used = ring.total
  if ring.most == 0 then return end
  local left = get(ring, ring.head + 1 - ring.n) * (ring.at / ring.width - ring.head)
  ring.used = ring.used - math.min(left, ring.most)
end

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
