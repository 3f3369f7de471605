#!lua flags=no-writes
-- due: in how many microseconds there is something to claim, for each bucket.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    for each lane without room the number of its key, and the lane
-- answer  for each how long it takes still (0 or less: there is something), or nil

local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local full, counts = {}, {}
for at = 1, #ARGV, 2 do
    local place = tonumber(ARGV[at])
    full[ARGV[at + 1]] = true
    counts[place] = (counts[place] or 0) + 1
end
local answer = {}
for place, tag in ipairs(KEYS) do
    -- One more than are full: the first that is not is among them.
    local lanes = redis.call('ZRANGE', tag .. 'lanes', 0, counts[place] or 0, 'WITHSCORES')
    answer[place] = false
    for at = 1, #lanes, 2 do
        if not full[lanes[at]] then
            answer[place] = math.floor(tonumber(lanes[at + 1]) * 1000 - micros)
            break
        end
    end
end
return answer
