-- page: runs whose ids are known, up to a bound.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the letter of the state that they are to be in (empty: any), after how many bytes it is
--         enough, and for each run the number of the key, the owner, the id
-- answer  for each, up to where it was enough, what `reading` says, or nil where it is in another
--         state meanwhile, or gone

local wanted, enough = ARGV[1], tonumber(ARGV[2])
local answer, bytes = {}, 0
for at = 3, #ARGV, 3 do
    local tag, owner, id = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
    local key = tag .. 'runs:' .. owner
    local kept = call('HGET', key, id .. 'm') or QUEUED
    local size = call('HSTRLEN', key, id)
    if size == 0 or (wanted ~= '' and string.sub(kept, 1, 1) ~= wanted) then
        answer[#answer + 1] = false
    else
        bytes = bytes + size + tonumber(string.match(kept, ':(%d+)$') or '0')
        -- The first is read whatever its size, so that there is an end.
        if bytes > enough and #answer > 0 then
            break
        end
        answer[#answer + 1] = read_run(tag, owner, id)
    end
end
return answer
