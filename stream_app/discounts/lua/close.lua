-- Begin to open a new account: close the one that is not to be trusted, and keep the others out meanwhile.
--
-- KEYS[1]  account    as in book.lua
-- KEYS[2]  lock       "<run> <token>"
-- ARGV[1]  token      of the process that attempts it
-- ARGV[2]  budget     the newest account that the caller knows of, 0 without one: an older one is not to be trusted
-- ARGV[3]  seen       the highest booking that the caller knows of it: nor is one with fewer
-- ARGV[4]  time to live of the lock, ms
--
-- Returns "open" if there is an account to trust, "busy" if another attempt is under way, "mine" if it is the caller's.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local account = redis.call('HMGET', KEYS[1], 'budget', 'run', 'bookings')
if account[1] and account[2] == run then
  local known, seen = tonumber(ARGV[2]), tonumber(ARGV[3])
  if tonumber(account[1]) > known or (tonumber(account[1]) == known and tonumber(account[3]) >= seen) then
    return 'open'
  end
end
local mine = run .. ' ' .. ARGV[1]
local lock = redis.call('GET', KEYS[2])
-- A lock that a former server has given came here with its files: it is nobody's.
if lock and lock ~= mine and string.sub(lock, 1, #run) == run then
  return 'busy'
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], mine, 'PX', ARGV[4])
return 'mine'
