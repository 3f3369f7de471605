#!lua flags=allow-oom
-- advance: has a store be of the next format, if it is still of the one before. Works when memory is
-- full.
--
-- KEYS    what says how the store is laid out
-- ARGV    the format before, the next one
-- answer  the format that it has from now on

local format = redis.call('HGET', KEYS[1], 'format')
if format ~= ARGV[1] then
    return format
end
redis.call('HSET', KEYS[1], 'format', ARGV[2])
return ARGV[2]
