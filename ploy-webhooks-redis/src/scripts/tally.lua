#!lua
-- tally: adds up how much has happened in a workspace.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    the workspace, for how many milliseconds history is kept; for each bucket of time when it
--         begins, and its four counts
-- answer  1

local call = redis.call
local key = KEYS[1] .. 'history:' .. ARGV[1]
local kept_ms = tonumber(ARGV[2])
local COUNT_MAX = 2 ^ 53 -- up to which doubles count

local function add(kept, at)
    local sums = { tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]) }
    if kept then
        local place = 1
        for count in string.gmatch(kept, '%d+') do
            sums[place] = sums[place] + tonumber(count)
            place = place + 1
        end
    end
    for place, sum in ipairs(sums) do
        sums[place] = string.format('%.0f', math.min(sum, COUNT_MAX))
    end
    return table.concat(sums, ' ')
end

for place = 3, #ARGV, 5 do
    local at = ARGV[place]
    if call('HSET', key, at, add(call('HGET', key, at), place + 1)) == 1 then
        for _, old in ipairs(call('HKEYS', key)) do
            if tonumber(old) < tonumber(at) - kept_ms then
                call('HDEL', key, old)
            end
        end
    end
end
return 1
