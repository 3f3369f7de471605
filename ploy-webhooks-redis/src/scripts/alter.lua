-- alter: moves a run by hand: into the line, due at once, or out of it for good. Works when memory
-- is full.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    the channel, the owner, the run, the letter of the state that it gets (q or c), the
--         letters of those in which it may be moved
-- answer  1; 0 where there is none; or the letter of the state for which it was not moved

local tag, owner, id, state = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local key = tag .. 'runs:' .. owner
local run = call('HMGET', key, id, id .. 'm')
if not run[1] then
    return 0
end
local before, attempts, said = standing(run[2])
if not string.find(ARGV[5], before, 1, true) then
    return before
end
call('HSET', key, id .. 'm', state .. digits(attempts) .. ':' .. digits(said))
call('HDEL', tag .. 'claimed', id)
call('ZREM', tag .. LISTS[before] .. owner, id)
call('ZREM', tag .. 'delayed:' .. owner, id)
call('ZREM', tag .. 'line:' .. owner, id)
call('ZADD', tag .. LISTS[state] .. owner, 0, id)
line_up(tag, owner)
if state == 'q' then
    tell(ARGV[1])
end
return 1
