-- Which budget account is open, and whether the server may drop keys to make room.
--
-- KEYS[1]  account    as in book.lua
--
-- Returns {maxmemory policy} if there is no account to trust, else {maxmemory policy, budget, bookings}.
local evicts = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)')
local account = redis.call('HMGET', KEYS[1], 'budget', 'run', 'bookings')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if not account[1] or account[2] ~= run then
  return {evicts}
end
return {evicts, account[1], account[3]}
