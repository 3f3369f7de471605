-- claim: claims runs that are due, for the time of a lease. What is owed is carried out also when
-- memory is full: that is how it ends.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    how many at most, the lease in milliseconds, after how many bytes of payload it is
--         enough, who claims, how much room there is in a lane, and where there is less, the lane
--         and its room
-- answer  for each run the owner, the workspace, its id, the number of the attempt, the letter of
--         the state that it was in, its record, and of its event the index entry, and headers and
--         payload

local tag, wanted, lease, enough = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local worker, room_of_each = ARGV[4], tonumber(ARGV[5])
local rooms, full = {}, 0
for at = 6, #ARGV, 2 do
    rooms[ARGV[at]] = tonumber(ARGV[at + 1])
    full = full + (ARGV[at + 1] == '0' and 1 or 0)
end

local until_then = digits(now + lease)
local answer, bytes = {}, 0

local function serve(owner, room)
    local line, key = tag .. 'line:' .. owner, tag .. 'runs:' .. owner
    local workspace = call('HGET', tag .. 'endpoint:' .. owner, 'workspace') or owner
    local moved, fields, running, claimed, left = {}, {}, {}, {}, {}
    for _, id in ipairs(call('ZRANGEBYSCORE', line, '-inf', digits(now), 'LIMIT', 0, room)) do
        if bytes >= enough then
            break
        end
        local run = call('HMGET', key, id .. 's', id .. 'm')
        local event = run[1] and sub(run[1], 1, 16)
        local payload = event and call('HGET', tag .. 'payloads:' .. owner, event)
        if not payload then
            -- Not as it was written: nobody can carry it out, and the others go on.
            call('ZREM', line, id)
        else
            local state, attempts, said = standing(run[2])
            local attempt = digits(attempts + 1)
            moved[#moved + 1] = until_then
            moved[#moved + 1] = id
            fields[#fields + 1] = id .. 'm'
            fields[#fields + 1] = 'r' .. attempt .. ':' .. digits(said)
            fields[#fields + 1] = id .. 'a' .. attempt
            fields[#fields + 1] = digits(now) .. ' ' .. worker
            if state ~= 'r' then
                left[state] = left[state] or {}
                table.insert(left[state], id)
                running[#running + 1] = '0'
                running[#running + 1] = id
                claimed[#claimed + 1] = id
                claimed[#claimed + 1] = owner
            end
            local entry = call('ZRANGEBYLEX', tag .. 'index:' .. owner, '[' .. event, '+', 'LIMIT', 0, 1)[1]
            answer[#answer + 1] = { owner, workspace, id, attempt, state, run[1], entry, payload }
            bytes = bytes + #payload
        end
    end
    if #moved > 0 then
        call('ZADD', line, unpack(moved))
        call('HSET', key, unpack(fields))
    end
    if #running > 0 then
        call('ZADD', tag .. LISTS.r .. owner, unpack(running))
        call('HSET', tag .. 'claimed', unpack(claimed))
    end
    for state, ids in pairs(left) do
        call('ZREM', tag .. LISTS[state] .. owner, unpack(ids))
    end
    line_up(tag, owner, true)
end

-- Each lane that is not full has something to give, so no more of them are needed. (What is more
-- would be too much for unpack, which has a bound of about 8,000.)
wanted = math.min(wanted, 1000)
local turn = string.format('%.3f', micros / 1000)
for _, owner in ipairs(call('ZRANGEBYSCORE', tag .. 'lanes', '-inf', turn, 'LIMIT', 0, wanted + full)) do
    local room = math.min(rooms[owner] or room_of_each, wanted - #answer)
    if room > 0 and bytes < enough then
        serve(owner, room)
    end
end
return answer
