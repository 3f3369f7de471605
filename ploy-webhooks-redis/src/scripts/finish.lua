-- finish: records the end of an attempt, and ends its lease. Works when memory is full.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    the channel, the run, the number of the attempt, the letter of the state that follows, in
--         how many milliseconds it is tried again (empty: never), what it said
-- answer  whether the lease held

local tag, id, attempt, state, after = KEYS[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local line = call('HGET', tag .. 'claimed', id)
if not line then
    return 0
end
local owner, destination = parted(line)
local key = tag .. 'runs:' .. owner
local run = call('HMGET', key, id .. 'm', id .. 'a' .. attempt)
local held = 'r' .. attempt .. ':'
if not run[1] or sub(run[1], 1, #held) ~= held then
    return 0
end
local said = tonumber(sub(run[1], #held + 1)) + #ARGV[6]
call('HSET', key,
    id .. 'm', state .. attempt .. ':' .. digits(said),
    id .. 'a' .. attempt, (run[2] or '') .. ' ' .. digits(now) .. ' ' .. state .. ' ' .. after .. ' ' .. ARGV[6])
call('HDEL', tag .. 'claimed', id)
call('ZREM', tag .. LISTS.r .. owner, id)
call('ZADD', tag .. LISTS[state] .. owner, 0, id)
if after == '' then
    call('ZREM', tag .. 'line:' .. line, id)
else
    call('ZADD', tag .. 'line:' .. line, digits(now + tonumber(after)), id)
end
note(tag, owner, 'r' .. of_run(id, state, tonumber(attempt)))
line_up(tag, owner, destination)
if after ~= '' then
    tell(ARGV[1])
end
return 1
