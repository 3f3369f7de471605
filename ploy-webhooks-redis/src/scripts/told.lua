#!lua flags=no-writes
-- told: what is known of events and runs that the feed tells of.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    for each the number of its key, `e` or `r`, the owner, the id
-- answer  for each event its index entry, for each run the event that owes it, or nil where it is gone

local call = redis.call
local answer = {}
for at = 1, #ARGV, 4 do
    local tag, owner, id = KEYS[tonumber(ARGV[at])], ARGV[at + 2], ARGV[at + 3]
    local known = false
    if ARGV[at + 1] == 'e' then
        local entry = call('ZRANGEBYLEX', tag .. 'index:' .. owner, '[' .. id, '+', 'LIMIT', 0, 1)[1]
        known = entry and string.sub(entry, 1, 16) == id and entry
    else
        local record = call('HGET', tag .. 'runs:' .. owner, id)
        known = record and string.sub(record, 7, 22)
    end
    answer[#answer + 1] = known or false
end
return answer
