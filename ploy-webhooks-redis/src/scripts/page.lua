-- page: runs whose ids are known, up to a bound.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the letter of the state that they are to be in (empty: any), the destination that they are
--         to be delivered to (empty: any, or none), after how many bytes it is enough, after how many
--         runs, and for each run the number of the key, the owner, the id
-- answer  for each, up to where it was enough, what `reading` says, or nil where it is delivered
--         elsewhere, in another state meanwhile, or gone

local wanted, destination = ARGV[1], ARGV[2]
local enough, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local answer, bytes, runs = {}, 0, 0

local function is_delivered(key, id)
    local record = call('HGET', key, id)
    return record and string.match(record, DELIVERY, 23) == destination
end

for at = 5, #ARGV, 3 do
    local tag, owner, id = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
    local key = tag .. 'runs:' .. owner
    local is_wanted = destination == '' or is_delivered(key, id)
    local kept = is_wanted and call('HGET', key, id .. 'm') or QUEUED
    local size = is_wanted and call('HSTRLEN', key, id) or 0
    if size == 0 or (wanted ~= '' and string.sub(kept, 1, 1) ~= wanted) then
        answer[#answer + 1] = false
    else
        bytes = bytes + size + tonumber(string.match(kept, ':(%d+)$') or '0')
        -- The first is read whatever its size, so that there is an end.
        if runs == most or (bytes > enough and runs > 0) then
            break
        end
        runs = runs + 1
        answer[#answer + 1] = read_run(tag, owner, id)
    end
end
return answer
