-- Open a new account with what was spent, if the attempt still is the one that may.
--
-- KEYS[1]  account    as in book.lua
-- KEYS[2]  lock       as in close.lua
-- KEYS[3…] spent      of hours and days
-- ARGV[1]  token
-- ARGV[2]  budget     when it is opened, ms
-- ARGV[3]  time to live of what was spent, ms
-- ARGV[4…] spent      in ten-thousandths, one for each key
--
-- Returns 1, also when this very attempt has opened it before (a repeated call), else 0.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] and redis.call('HGET', KEYS[1], 'run') == run then
  return 1
end
if redis.call('GET', KEYS[2]) ~= run .. ' ' .. ARGV[1] then
  return 0
end
for i = 3, #KEYS do
  redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'budget', ARGV[2], 'run', run, 'bookings', 0, 'token', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[2])
return 1
