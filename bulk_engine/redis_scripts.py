"""The scripts that Redis runs, each as one step that no reader and no other writer can come between."""

SUPERSEDED = -1

# KEYS: entities; last, the names of the runs at work. ARGV: this run's; seconds to live or 0; how many fields; their
# names, the instant's first; the values, each once; last, two bytes for each entity and field: which value. Returns how
# many are left as they are, since newer is there; SUPERSEDED if the run is not among those at work.
WRITE = """
if redis.call('SISMEMBER', table.remove(KEYS), ARGV[1]) == 0 then return -1 end

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

local width, places = tonumber(ARGV[3]), ARGV[#ARGV]
local values, format = 4 + width, '>' .. string.rep('H', width)
local known = redis.call('EXISTS', unpack(KEYS)) > 0  -- one look in place of one for each of entities that are new
local hash, rejected = {}, 0
for i = 1, width do hash[2 * i] = ARGV[3 + i] end
for row, key in ipairs(KEYS) do
  local place = {struct.unpack(format, places, (row - 1) * 2 * width + 1)}
  for i = 1, width do hash[2 * i + 1] = ARGV[values + place[i]] end
  local there = known and redis.call('HGET', key, ARGV[4])
  if there and newer(there, hash[3]) then
    rejected = rejected + 1
  else
    hash[1] = key
    redis.call('HSET', unpack(hash))
    if ARGV[2] ~= '0' then redis.call('EXPIRE', key, ARGV[2]) end
  end
end
return rejected
"""

# After a change that no run has made the note goes, and a name without a run keeps those at work from leaving one.
VOID = """
local function void(note, running, name)
  redis.call('DEL', note)
  if redis.call('SCARD', running) > 0 then redis.call('SADD', running, name) end
end
"""

# KEYS: entities; last, the note and the names of the runs at work. ARGV: number of names; the start of every view's
# instant field; the name of this view's; the names of its features' fields; then per entity the instant that it must
# still have, '' for any; last, a name without a run. Returns how many were removed.
REMOVE = f"""{VOID}
local names = {{unpack(ARGV, 3, 1 + ARGV[1])}}
local running, note, removed = table.remove(KEYS), table.remove(KEYS), 0
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
if removed > 0 then void(note, running, ARGV[#ARGV]) end
return removed
"""

# KEYS of all that follow: the note, the intervals that rows were left out of, the names of the runs at work.
# ARGV: this run's name; the note that must be there; the intervals from now on, '' for those that are there; '' if
# other runs have to begin again. Returns whether the note was that one and no other is at work; if not, intervals stay.
BEGIN = """
local known = (redis.call('GET', KEYS[1]) or '') == ARGV[2] and redis.call('SCARD', KEYS[3]) == 0
if ARGV[4] == '' then redis.call('DEL', KEYS[3]) end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[1])
if known and ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3]) end
return known and 1 or 0
"""

# ARGV: this run's name; the note, '' for none.
COMPLETE = """
local alone = redis.call('SCARD', KEYS[3]) == 1 and redis.call('SISMEMBER', KEYS[3], ARGV[1]) == 1
redis.call('SREM', KEYS[3], ARGV[1])
if alone and ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2]) end
"""

# ARGV: a name without a run; 'gone' if the rows are.
FORGET = f"""{VOID}
void(KEYS[1], KEYS[3], ARGV[1])
if ARGV[2] == 'gone' then redis.call('DEL', KEYS[2]) end
"""
