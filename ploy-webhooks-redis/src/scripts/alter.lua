-- alter: moves a run by hand: into the line, due at once, or out of it for good. Works when memory
-- is full.
--
-- Who has a lease on a run that is called off may not hear of it before that would have ended: until
-- then the run is not due, however often it is queued and called off again.
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
local destination = destination_of(run[1])
local line = tag .. 'line:' .. line_of(owner, destination)
local before, attempts, said = standing(run[2])
if not string.find(ARGV[5], before, 1, true) then
    return before
end
local ends
if before == 'r' then
    ends = call('ZSCORE', line, id)
    if ends then
        call('HSET', key, id .. 'h', digits(tonumber(ends)))
    end
elseif state == 'q' then
    ends = call('HGET', key, id .. 'h')
end
call('HSET', key, id .. 'm', state .. digits(attempts) .. ':' .. digits(said))
call('HDEL', tag .. 'claimed', id)
call('ZREM', tag .. LISTS[before] .. owner, id)
call('ZREM', tag .. 'delayed:' .. owner, id)
call('ZREM', line, id)
local due_at = math.max(now, tonumber(ends or '0'))
if state == 'q' and (destination or due_at > now) then
    call('ZADD', tag .. 'delayed:' .. owner, 0, id)
    call('ZADD', line, digits(due_at), id)
else
    call('ZADD', tag .. LISTS[state] .. owner, 0, id)
end
note(tag, owner, 'r' .. of_run(id, state, attempts))
line_up(tag, owner, destination)
if state == 'q' then
    tell(ARGV[1])
end
return 1
