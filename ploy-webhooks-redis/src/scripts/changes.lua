#!lua flags=no-writes
-- changes: what was put down for who follows the feed, after some places.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the workspace, how many steps of each bucket, after how many bytes it is enough, and for
--         each bucket the id of the step after which
-- answer  for each bucket whether something after that is gone, whether there may be more, and for
--         each step its id, and the owner and what is said, both empty where it is another workspace's

local call = redis.call
local workspace, most, enough = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local wanted = {}
local function is_wanted(tag, owner)
    if owner == workspace then
        return true
    end
    if wanted[owner] == nil then
        wanted[owner] = call('HGET', tag .. 'endpoint:' .. owner, 'workspace') == workspace
    end
    return wanted[owner]
end

-- Whether there were steps before the first that is kept.
local function has_forgotten(key)
    local info, fields = call('XINFO', 'STREAM', key), {}
    for at = 1, #info, 2 do
        fields[info[at]] = info[at + 1]
    end
    return fields['entries-added'] > fields['length']
end

local answer, bytes = {}, 0
for place, tag in ipairs(KEYS) do
    local key = tag .. 'feed'
    local steps = call('XRANGE', key, '(' .. ARGV[place + 3], '+', 'COUNT', most)
    local told = { 0, #steps == most and 1 or 0 }
    if #steps > 0 then
        local first = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
        if first[1] == steps[1][1] and has_forgotten(key) then
            told[1] = 1
        end
    end
    for number, step in ipairs(steps) do
        if bytes > enough and number > 1 then
            told[2] = 1
            break
        end
        local owner, said = step[2][1], step[2][2]
        if not is_wanted(tag, owner) then
            owner, said = '', ''
        end
        bytes = bytes + #said
        told[#told + 1] = step[1]
        told[#told + 1] = owner
        told[#told + 1] = said
    end
    answer[place] = told
end
return answer
