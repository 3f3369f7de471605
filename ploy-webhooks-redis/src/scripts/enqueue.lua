#!lua
-- enqueue: adds runs to what an event owes.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    the channel, the owner, the event, and the id, the record and the delay of each run
-- answer  whether there is such an event; -1 where the owner has a run of one of the ids

local call = redis.call
local tag, owner, id = KEYS[1], ARGV[2], ARGV[3]
if call('HEXISTS', tag .. 'payloads:' .. owner, id) == 0 then
    return 0
end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = tag .. 'runs:' .. owner
for at = 4, #ARGV, 3 do
    if call('HEXISTS', key, ARGV[at] .. 's') == 1 then
        return -1
    end
end
local ids = { call('HGET', key, 'o' .. id) or '' }
for at = 4, #ARGV, 3 do
    local run = ARGV[at]
    ids[#ids + 1] = run
    call('HSET', key, run .. 's', id .. string.format('%.0f:', now) .. ARGV[at + 1], run .. 'm', 'q0')
    call('ZADD', tag .. 'due', string.format('%.0f', now + tonumber(ARGV[at + 2])), owner .. run)
end
call('HSET', key, 'o' .. id, table.concat(ids))
-- All is written by now: a message that is refused, as to a user without channels, undoes nothing,
-- and who waits looks from time to time anyhow.
redis.pcall('PUBLISH', ARGV[1], '')
return 1
