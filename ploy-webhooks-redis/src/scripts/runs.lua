#!lua flags=no-writes
-- runs: what an event owes, and what came of it.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    the owner, the event
-- answer  for each run its id, its record, its state, and a record of each attempt (nil: none)

local key = KEYS[1] .. 'runs:' .. ARGV[1]
local ids = redis.call('HGET', key, 'o' .. ARGV[2]) or ''
local answer = {}
for at = 1, #ids, 16 do
    local id = string.sub(ids, at, at + 15)
    local run = redis.call('HMGET', key, id .. 's', id .. 'm')
    local attempts = {}
    local count = tonumber(string.sub(run[2] or 'q0', 2)) or 0
    for number = 1, count do
        attempts[number] = redis.call('HGET', key, id .. 'a' .. number)
    end
    answer[#answer + 1] = { id, run[1], run[2], attempts }
end
return answer
