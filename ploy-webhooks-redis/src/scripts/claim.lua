#!lua flags=allow-oom
-- claim: claims runs that are due, for the time of a lease. What is owed is carried out also when
-- memory is full: that is how it ends.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    how many at most, the lease in milliseconds, after how many bytes of payload it is
--         enough
-- answer  for each run the owner, the workspace, its id, the number of the attempt, its record, and of its event
--         the index entry, and headers and payload

local call = redis.call
local tag, wanted, lease, enough = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer, bytes, dropped = {}, 0, 0

while #answer < wanted and bytes < enough and dropped < 1000 do
    local due = call('ZRANGEBYSCORE', tag .. 'due', '-inf', string.format('%.0f', now), 'LIMIT', 0,
        math.min(wanted - #answer, 64))
    if #due == 0 then
        break
    end
    for _, member in ipairs(due) do
        if bytes >= enough then
            break
        end
        local owner, id = string.sub(member, 1, 29), string.sub(member, 30)
        local key = tag .. 'runs:' .. owner
        local run = call('HMGET', key, id .. 's', id .. 'm')
        local event = run[1] and string.sub(run[1], 1, 16)
        local payload = event and call('HGET', tag .. 'payloads:' .. owner, event)
        if not payload or not run[2] then
            -- Its endpoint is deleted.
            call('ZREM', tag .. 'due', member)
            call('HDEL', tag .. 'claimed', id)
            dropped = dropped + 1
        else
            local attempt = string.format('%.0f', tonumber(string.sub(run[2], 2)) + 1)
            call('HSET', key, id .. 'm', 'r' .. attempt, id .. 'a' .. attempt, string.format('%.0f', now))
            call('HSET', tag .. 'claimed', id, owner)
            call('ZADD', tag .. 'due', string.format('%.0f', now + lease), member)
            local entry = call('ZRANGEBYLEX', tag .. 'index:' .. owner, '[' .. event, '+', 'LIMIT', 0, 1)[1]
            local workspace = call('HGET', tag .. 'endpoint:' .. owner, 'workspace') or owner
            answer[#answer + 1] = { owner, workspace, id, attempt, run[1], entry, payload }
            bytes = bytes + #payload
        end
    end
end
return answer
