#!lua flags=no-writes
-- activity: what is known of an endpoint beside its state.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its id, its workspace
-- answer  nil where there is none; otherwise the time in milliseconds, what it has stored under a
--         quota (nil: nothing), and names and values of what was observed of its senders

local call = redis.call
local endpoint = call('HMGET', KEYS[1] .. 'endpoint:' .. ARGV[1], 'workspace', 'quota')
if endpoint[1] ~= ARGV[2] then
    return false
end
local time = call('TIME')
local observed = call('HGETALL', KEYS[1] .. 'observed:' .. ARGV[1])
return { time[1] * 1000 + math.floor(time[2] / 1000), endpoint[2], observed }
