#!lua flags=allow-oom
-- bury: sees to it that an endpoint which does not have the slug will not come to have it.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its id, the slug, for how many milliseconds
-- answer  1 where it has the slug

local slug = redis.call('HGET', KEYS[1] .. 'endpoint:' .. ARGV[1], 'slug')
if slug == ARGV[2] then
    return 1
end
if not slug then
    redis.call('SET', KEYS[1] .. 'gone:' .. ARGV[1], '', 'PX', ARGV[3])
end
return 0
