#!lua flags=allow-oom
-- delete: deletes an endpoint with its history, which is freed behind. Works when memory is full.
--
-- Its deduplication keys end by themselves: they name an endpoint that never is again. What is
-- due of it is dropped when it is claimed.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its id, its workspace, for how many milliseconds its id is spent
-- answer  its slug; nil where there is none

local tag, id = KEYS[1], ARGV[1]
local endpoint = redis.call('HMGET', tag .. 'endpoint:' .. id, 'workspace', 'slug')
if not endpoint[1] or endpoint[1] ~= ARGV[2] then
    return false
end
redis.call('UNLINK', tag .. 'endpoint:' .. id, tag .. 'index:' .. id, tag .. 'payloads:' .. id, tag .. 'runs:' .. id)
redis.call('ZREM', tag .. 'workspace:' .. ARGV[2], id)
redis.call('SET', tag .. 'gone:' .. id, '', 'PX', ARGV[3])
return endpoint[2]
