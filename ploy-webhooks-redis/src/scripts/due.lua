#!lua flags=no-writes
-- due: in how many microseconds there is something to claim, for each bucket.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    how many lanes more are looked at, for destinations where something is due; and for each lane
--         without room the number of its key (0: any), and the lane
-- answer  for each an array of how long it takes still (0 or less: there is something), and those
--         destinations; or nil

local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local full, counts = {}, {}
local more = tonumber(ARGV[1])
for at = 2, #ARGV, 2 do
    local place = tonumber(ARGV[at])
    full[ARGV[at + 1]] = true
    counts[place] = (counts[place] or 0) + 1
end
local answer = {}
for place, tag in ipairs(KEYS) do
    -- One more than are full: the first that is not is among them.
    local passed = (counts[place] or 0) + (counts[0] or 0)
    local lanes = redis.call('ZRANGE', tag .. 'lanes', 0, passed + more, 'WITHSCORES')
    local found = false
    for at = 1, #lanes, 2 do
        local lane = lanes[at]
        if not full[lane] then
            local left = math.floor(tonumber(lanes[at + 1]) * 1000 - micros)
            found = found or { left }
            if more == 0 or left > 0 then
                break
            end
            if string.sub(lane, 1, 4) == 'dst_' then
                found[#found + 1] = lane
            end
        end
    end
    answer[place] = found
end
return answer
