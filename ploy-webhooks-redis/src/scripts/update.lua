#!lua flags=allow-oom
-- update: changes an endpoint that is at the expected revision. A pause works when memory is full.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its id, its workspace, the expected revision, and then names and values
-- answer  1; 0 where there is none; or the revision that it is at

local key = KEYS[1] .. 'endpoint:' .. ARGV[1]
local now = redis.call('HMGET', key, 'workspace', 'revision')
if not now[1] or now[1] ~= ARGV[2] then
    return 0
end
if now[2] ~= ARGV[3] then
    return now[2]
end
redis.call('HSET', key, unpack(ARGV, 4))
return 1
