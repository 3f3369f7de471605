#!lua flags=allow-oom
-- finish: records the end of an attempt, and ends its lease.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    the channel, the run, the number of the attempt, the state that follows, how it ended,
--         in how many milliseconds it is tried again (empty: never), what it said
-- answer  whether the lease held

local call = redis.call
local tag, id, attempt = KEYS[1], ARGV[2], ARGV[3]
local owner = call('HGET', tag .. 'claimed', id)
local key = owner and tag .. 'runs:' .. owner
if not owner or call('HGET', key, id .. 'm') ~= 'r' .. attempt then
    return 0
end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local started = call('HGET', key, id .. 'a' .. attempt) or ''
call('HSET', key,
    id .. 'm', ARGV[4] .. attempt,
    id .. 'a' .. attempt, started .. string.format(':%.0f:', now) .. ARGV[5] .. ':' .. ARGV[6] .. ':' .. ARGV[7])
call('HDEL', tag .. 'claimed', id)
if ARGV[6] == '' then
    call('ZREM', tag .. 'due', owner .. id)
else
    call('ZADD', tag .. 'due', string.format('%.0f', now + tonumber(ARGV[6])), owner .. id)
    -- All is written by now: a message that is refused, as to a user without channels, undoes nothing,
    -- and who waits looks from time to time anyhow.
    redis.pcall('PUBLISH', ARGV[1], '')
end
return 1
