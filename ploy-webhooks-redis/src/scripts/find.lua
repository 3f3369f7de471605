#!lua flags=no-writes
-- find: an event of a workspace, by its id.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the workspace, the number of the key where it has published events (0: none of these),
--         the id, where the ids end that come after it, whether the payload is wanted
-- answer  the owner, the number of the key, the index entry, and headers and payload; or nil

local call = redis.call
local workspace, id = ARGV[1], ARGV[3]
local published = tonumber(ARGV[2])

local function look(place, owner)
    local tag = KEYS[place]
    if call('HEXISTS', tag .. 'payloads:' .. owner, id) == 0 then
        return
    end
    local entry = call('ZRANGEBYLEX', tag .. 'index:' .. owner, '[' .. id, ARGV[4], 'LIMIT', 0, 1)[1]
    local payload = ARGV[5] == '1' and call('HGET', tag .. 'payloads:' .. owner, id) or ''
    return { owner, place, entry, payload }
end

for place, tag in ipairs(KEYS) do
    local found = place == published and look(place, workspace)
    if found then
        return found
    end
    for _, owner in ipairs(call('ZRANGE', tag .. 'workspace:' .. workspace, 0, -1)) do
        found = look(place, owner)
        if found then
            return found
        end
    end
end
return false
