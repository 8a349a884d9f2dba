/**
 * Lua of {@link consumeScript}: the functions that read, change and write one ring. They use the
 * script's `acked`, `seq`, `sender`, `hasDoubts` and `tail`.
 */
export const ringFunctions = `\
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
`
