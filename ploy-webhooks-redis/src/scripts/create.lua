#!lua
-- create: writes a new endpoint.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its id, its workspace, and then names and values: revision, slug and so on
-- answer  1; or the slug of the endpoint that has the id; or 0 where the id is spent

local tag, id, workspace = KEYS[1], ARGV[1], ARGV[2]
local slug = redis.call('HGET', tag .. 'endpoint:' .. id, 'slug')
if slug then
    return slug
end
if redis.call('EXISTS', tag .. 'gone:' .. id) == 1 then
    return 0
end
redis.call('HSET', tag .. 'endpoint:' .. id, 'workspace', workspace, unpack(ARGV, 3))
redis.call('ZADD', tag .. 'workspace:' .. workspace, 0, id)
return 1
