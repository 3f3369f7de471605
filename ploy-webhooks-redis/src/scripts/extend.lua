-- extend: has a lease end at another time. Works when memory is full.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    the channel, the run, the number of the attempt, in how many milliseconds
-- answer  whether it held

local tag, id = KEYS[1], ARGV[2]
local line = call('HGET', tag .. 'claimed', id)
if not line then
    return 0
end
local owner, destination = parted(line)
local kept = call('HGET', tag .. 'runs:' .. owner, id .. 'm')
local held = 'r' .. ARGV[3] .. ':'
if not kept or sub(kept, 1, #held) ~= held then
    return 0
end
local key = tag .. 'line:' .. line
local ends, ended = now + tonumber(ARGV[4]), tonumber(call('ZSCORE', key, id) or '0')
call('ZADD', key, digits(ends), id)
line_up(tag, owner, destination)
if ends < ended then
    -- Earlier than who waits believes.
    tell(ARGV[1])
end
return 1
