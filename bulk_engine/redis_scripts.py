"""The scripts that Redis runs, each as one step that no reader and no other writer can come between."""

# KEYS: entities. ARGV: seconds to live or 0; how many fields; their names, the instant's first; the values, each once;
# last, two bytes for each entity and field: which value. Returns how many are left as they are, since newer is there.
WRITE = """
local function instant(bytes)  -- a protobuf Timestamp: varints of seconds (1) and nanoseconds (2)
  local found, at = {0, 0}, 1
  while at <= #bytes do
    local field = math.floor(bytes:byte(at) / 8)
    local value, complement, scale, last = 0, 0, 1, 0
    repeat
      at = at + 1
      last = bytes:byte(at)
      value = value + last % 128 * scale
      if scale < 2 ^ 63 then complement = complement + (127 - last % 128) * scale end
      scale = scale * 128
    until last < 128
    if scale == 2 ^ 70 then value = -1 - complement end  -- ten bytes: a negative one
    found[field] = value
    at = at + 1
  end
  return found[1], found[2]
end

local function newer(one, other)
  if one == other then return false end
  local seconds, nanos = instant(one)
  local other_seconds, other_nanos = instant(other)
  return seconds > other_seconds or seconds == other_seconds and nanos > other_nanos
end

local width, places = tonumber(ARGV[2]), ARGV[#ARGV]
local values, format = 3 + width, '>' .. string.rep('H', width)
local known = redis.call('EXISTS', unpack(KEYS)) > 0  -- one look in place of one for each of entities that are new
local hash, rejected = {}, 0
for i = 1, width do hash[2 * i] = ARGV[2 + i] end
for row, key in ipairs(KEYS) do
  local place = {struct.unpack(format, places, (row - 1) * 2 * width + 1)}
  for i = 1, width do hash[2 * i + 1] = ARGV[values + place[i]] end
  local there = known and redis.call('HGET', key, ARGV[3])
  if there and newer(there, hash[3]) then
    rejected = rejected + 1
  else
    hash[1] = key
    redis.call('HSET', unpack(hash))
    if ARGV[1] ~= '0' then redis.call('EXPIRE', key, ARGV[1]) end
  end
end
return rejected
"""

# KEYS: entities; last, the note, which goes with the first removed. ARGV: number of names; the start of every view's
# instant field; the name of this view's; the names of its features' fields; then per entity the instant that it must
# still have, '' for any. Returns how many were removed.
REMOVE = """
local names = {unpack(ARGV, 3, 1 + ARGV[1])}
local note, removed = table.remove(KEYS), 0
for row, key in ipairs(KEYS) do
  local there, wanted = redis.call('HGET', key, ARGV[3]), ARGV[1 + ARGV[1] + row]
  if there and (wanted == '' or wanted == there) then
    local views = 0
    for _, name in ipairs(redis.call('HKEYS', key)) do
      if name:sub(1, #ARGV[2]) == ARGV[2] then views = views + 1 end
    end
    if views == 1 then redis.call('DEL', key) else redis.call('HDEL', key, unpack(names)) end
    removed = removed + 1
  end
end
if removed > 0 then redis.call('DEL', note) end
return removed
"""

# KEYS: two. ARGV: the first's new value, '' for none; '=' and what must be there now, '' for anything; the second's new
# value, if it gets one. Returns 1 if it was so.
SWAP = """
if ARGV[2] ~= '' and '=' .. (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then return 0 end
for n, value in ipairs({ARGV[1], ARGV[3]}) do
  if value == '' then redis.call('DEL', KEYS[n]) else redis.call('SET', KEYS[n], value) end
end
return 1
"""
