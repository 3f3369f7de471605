#!lua flags=no-writes
-- due: in how many milliseconds something is due, for each bucket.
--
-- KEYS    what the keys of each bucket begin with
-- answer  for each how long it takes still (0 or less: something is due), or nil

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for place, tag in ipairs(KEYS) do
    local head = redis.call('ZRANGE', tag .. 'due', 0, 0, 'WITHSCORES')
    answer[place] = head[2] and tonumber(head[2]) - now or false
end
return answer
