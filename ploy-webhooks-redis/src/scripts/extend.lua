#!lua flags=allow-oom
-- extend: has a lease end at another time.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    the run, the number of the attempt, in how many milliseconds
-- answer  whether it held

local tag, id = KEYS[1], ARGV[1]
local owner = redis.call('HGET', tag .. 'claimed', id)
if not owner or redis.call('HGET', tag .. 'runs:' .. owner, id .. 'm') ~= 'r' .. ARGV[2] then
    return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', tag .. 'due', string.format('%.0f', now + tonumber(ARGV[3])), owner .. id)
return 1
