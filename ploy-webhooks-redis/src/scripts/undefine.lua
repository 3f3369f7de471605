#!lua flags=allow-oom
-- undefine: deletes a definition. Works when memory is full.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its kind, the workspace, its name
-- answer  whether there was one

redis.call('ZREM', KEYS[1] .. ARGV[1] .. '-names:' .. ARGV[2], ARGV[3])
return redis.call('HDEL', KEYS[1] .. ARGV[1] .. ':' .. ARGV[2], ARGV[3])
