-- Take what a decision costs from the budget and keep the decision, once; or tell what was kept of it before.
--
-- KEYS[1]  account    hash: budget (when it was opened, ms), run (of the server that it was opened on), bookings
-- KEYS[2]  hour       spent in this hour of this account, in ten-thousandths
-- KEYS[3]  day        spent on this day of this account, the same
-- KEYS[4]  decision   "<budget> <booking> <decision>" as it was kept
-- ARGV[1]  budget     the account that is meant
-- ARGV[2]  seen       the highest booking of that account that the caller knows of
-- ARGV[3]  needs      what must be there, in ten-thousandths
-- ARGV[4]  cost       what is taken, the same
-- ARGV[5]  hour limit, the same
-- ARGV[6]  day limit, the same
-- ARGV[7]  time to live of what is written, ms
-- ARGV[8]  decision
--
-- Returns {"lost"} if there is no account to trust: none, of another server, or behind what was seen;
-- {"other", budget} if another one is open; {"refused", spent in the hour, on the day} if too little is left;
-- {"kept", "<budget> <booking> <decision>", spent in the hour, on the day}, now or by an earlier call.
local account = redis.call('HMGET', KEYS[1], 'budget', 'run', 'bookings')
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if not account[1] or account[2] ~= run then
  return {'lost'}
end
if account[1] ~= ARGV[1] then
  return {'other', account[1]}
end
if tonumber(account[3]) < tonumber(ARGV[2]) then
  return {'lost'}
end
local hour = tonumber(redis.call('GET', KEYS[2]) or '0')
local day = tonumber(redis.call('GET', KEYS[3]) or '0')
local kept = redis.call('GET', KEYS[4])
-- What was kept under another account is in nobody's sums: it is taken anew.
if kept and string.match(kept, '^(%d+) ') == ARGV[1] then
  return {'kept', kept, hour, day}
end
local needs, cost = tonumber(ARGV[3]), tonumber(ARGV[4])
if hour + needs > tonumber(ARGV[5]) or day + needs > tonumber(ARGV[6]) then
  return {'refused', hour, day}
end
local booking = redis.call('HINCRBY', KEYS[1], 'bookings', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
kept = string.format('%s %d %s', ARGV[1], booking, ARGV[8])
redis.call('SET', KEYS[4], kept, 'PX', ARGV[7])
if cost > 0 then
  redis.call('INCRBY', KEYS[2], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
  redis.call('INCRBY', KEYS[3], ARGV[4])
  redis.call('PEXPIRE', KEYS[3], ARGV[7])
end
return {'kept', kept, hour + cost, day + cost}
