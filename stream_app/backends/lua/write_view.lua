-- Write a batch of one partition into the view, if the view is where the writer believes it is.
--
-- KEYS[1]  position   JSON, with the integer field "seq"
-- KEYS[2]  open       sorted set: visitor id, scored by deadline (ms event time)
-- KEYS[3…] blobs      one key per visitor written
-- ARGV[1]  expected seq
-- ARGV[2]  new position, JSON
-- ARGV[3]  time to live of every key, ms
-- ARGV[4…] one value per blob key ("" deletes), then pairs (deadline or "", visitor id) for the sorted set
--
-- Returns "" when applied, also when this very position is stored already (a repeated call); else the stored position,
-- "-" if there is none. All values are absolute, so that a repetition changes nothing.
local stored = redis.call('GET', KEYS[1])
if stored == ARGV[2] then
  return ''
end
local expected = tonumber(ARGV[1])
if not stored then
  if expected ~= 0 then
    return '-'
  end
else
  -- What is no position of ours has no seq that anyone expects: an error here would be tried again for ever.
  local ok, seq = pcall(function() return cjson.decode(stored)['seq'] end)
  if not ok or seq ~= expected then
    return stored
  end
end
local ttl = ARGV[3]
local blobs = #KEYS - 2
for i = 1, blobs do
  local value = ARGV[3 + i]
  if value == '' then
    redis.call('DEL', KEYS[2 + i])
  else
    redis.call('SET', KEYS[2 + i], value, 'PX', ttl)
  end
end
for i = 4 + blobs, #ARGV, 2 do
  if ARGV[i] == '' then
    redis.call('ZREM', KEYS[2], ARGV[i + 1])
  else
    redis.call('ZADD', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
redis.call('PEXPIRE', KEYS[2], ttl)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ttl)
return ''
