#!lua flags=no-writes
-- list: a workspace's endpoints, in the order of their ids.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the workspace, where to begin, how many at most
-- answer  for each its id and its fields

local limit = tonumber(ARGV[3])
local found = {}
for _, tag in ipairs(KEYS) do
    local ids = redis.call('ZRANGEBYLEX', tag .. 'workspace:' .. ARGV[1], ARGV[2], '+', 'LIMIT', 0, limit)
    for _, id in ipairs(ids) do
        found[#found + 1] = { id, tag }
    end
end
-- Lua compares strings by the server's locale; these are compared byte by byte.
table.sort(found, function(a, b)
    a, b = a[1], b[1]
    for at = 1, #a do
        local one, other = string.byte(a, at), string.byte(b, at)
        if one ~= other then
            return one < other
        end
    end
    return false
end)
local answer = {}
for place = 1, math.min(limit, #found) do
    local id, tag = found[place][1], found[place][2]
    answer[place] = { id, redis.call('HMGET', tag .. 'endpoint:' .. id,
        'workspace', 'slug', 'revision', 'created_at', 'auth', 'config') }
end
return answer
