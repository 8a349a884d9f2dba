/** Lua of {@link consumeScript}: the path of nearly every send. */
export const fastPath = `\
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
`
