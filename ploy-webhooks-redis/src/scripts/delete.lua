-- delete: deletes an endpoint with its history, which is freed behind. Works when memory is full.
--
-- Its deduplication keys end by themselves: they name an endpoint that never is again.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its id, its workspace, for how many milliseconds its id is spent
-- answer  its slug; nil where there is none

local tag, id = KEYS[1], ARGV[1]
local endpoint = call('HMGET', tag .. 'endpoint:' .. id, 'workspace', 'slug')
if not endpoint[1] or endpoint[1] ~= ARGV[2] then
    return false
end
-- Nobody names them any more but who carries them out, and those are not many.
for _, run in ipairs(call('ZRANGE', tag .. 'running:' .. id, 0, -1)) do
    call('HDEL', tag .. 'claimed', run)
end
local keys = {}
for _, name in ipairs({
    'endpoint:', 'observed:', 'index:', 'payloads:', 'runs:', 'line:',
    'queued:', 'delayed:', 'running:', 'retrying:', 'succeeded:', 'failed:', 'cancelled:',
}) do
    keys[#keys + 1] = tag .. name .. id
end
call('UNLINK', unpack(keys))
for _, destination in ipairs(call('SMEMBERS', tag .. 'receivers:' .. id)) do
    call('UNLINK', tag .. 'line:' .. line_of(id, destination))
    line_up(tag, id, destination)
end
call('ZREM', tag .. 'lanes', id)
call('ZREM', tag .. 'workspace:' .. ARGV[2], id)
call('SET', tag .. 'gone:' .. id, '', 'PX', ARGV[3])
return endpoint[2]
