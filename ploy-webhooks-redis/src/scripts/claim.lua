-- claim: claims runs that are due, for the time of a lease. What is owed is carried out also when
-- memory is full: that is how it ends.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    how many at most, the lease in milliseconds, after how many bytes of payload it is
--         enough, who claims, how much room there is in a lane, and where there is less, the number
--         of its key, the lane and its room
-- answer  for each run the number of the key, the owner, the workspace, its id, the number of the
--         attempt, the letter of the state that it was in, its record, and of its event the index
--         entry, and headers and payload

-- What is more would be too much for unpack, which has a bound of about 8,000.
local wanted = math.min(tonumber(ARGV[1]), 1000)
local lease, enough = tonumber(ARGV[2]), tonumber(ARGV[3])
local worker, room_of_each = ARGV[4], tonumber(ARGV[5])
local rooms, full = {}, {}
for at = 6, #ARGV, 3 do
    local place, room = tonumber(ARGV[at]), tonumber(ARGV[at + 2])
    rooms[ARGV[at + 1]] = room
    full[place] = (full[place] or 0) + (room == 0 and 1 or 0)
end

local until_then = digits(now + lease)
local answer, bytes = {}, 0

-- What is due in a lane, what has waited longest first, and where each stands.
local function due_in(tag, owner, most)
    local waited = call('ZRANGEBYSCORE', tag .. 'line:' .. owner, '-inf', digits(now), 'WITHSCORES', 'LIMIT', 0, most)
    local queued = call('ZRANGE', tag .. 'queued:' .. owner, 0, most - 1)
    local ids, lists = {}, {}
    local waited_at, queued_at = 1, 1
    while #ids < most do
        local one, other = waited[waited_at], queued[queued_at]
        if not one and not other then
            break
        end
        -- An id begins with the time at which it was made.
        if not one or (other and struct.unpack('>I6', other) < tonumber(waited[waited_at + 1])) then
            ids[#ids + 1], lists[#ids + 1] = other, 'queued:'
            queued_at = queued_at + 1
        else
            ids[#ids + 1], lists[#ids + 1] = one, 'line:'
            waited_at = waited_at + 2
        end
    end
    return ids, lists
end

local function serve(place, owner, room)
    local tag = KEYS[place]
    local key = tag .. 'runs:' .. owner
    local workspace = call('HGET', tag .. 'endpoint:' .. owner, 'workspace') or owner
    local moved, fields, running, claimed, left = {}, {}, {}, {}, {}
    local ids, lists = due_in(tag, owner, room)
    for number, id in ipairs(ids) do
        if bytes >= enough then
            break
        end
        local run = call('HMGET', key, id, id .. 'm')
        local event = run[1] and sub(run[1], 7, 22)
        local payload = event and call('HGET', tag .. 'payloads:' .. owner, event)
        if not payload then
            -- Not as it was written: nobody can carry it out, and the others go on.
            call('ZREM', tag .. lists[number] .. owner, id)
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
                local list = LISTS[state]
                if state == 'q' and lists[number] == 'line:' then
                    list = 'delayed:'
                end
                left[list] = left[list] or {}
                table.insert(left[list], id)
                running[#running + 1] = '0'
                running[#running + 1] = id
                claimed[#claimed + 1] = id
                claimed[#claimed + 1] = owner
            end
            local entry = call('ZRANGEBYLEX', tag .. 'index:' .. owner, '[' .. event, '+', 'LIMIT', 0, 1)[1]
            answer[#answer + 1] = { place, owner, workspace, id, attempt, state, run[1], entry, payload }
            bytes = bytes + #payload
        end
    end
    if #moved > 0 then
        call('ZADD', tag .. 'line:' .. owner, unpack(moved))
        call('HSET', key, unpack(fields))
    end
    if #running > 0 then
        call('ZADD', tag .. LISTS.r .. owner, unpack(running))
        call('HSET', tag .. 'claimed', unpack(claimed))
    end
    for list, of_list in pairs(left) do
        call('ZREM', tag .. list .. owner, unpack(of_list))
    end
    line_up(tag, owner, true)
end

-- Each lane that is not full has something to give, so of one bucket no more of them are needed;
-- of many buckets, each gives some.
local most = math.min(wanted, math.ceil(4 * wanted / #KEYS) + 16)
local turn = string.format('%.3f', micros / 1000)
local lanes = {}
for place, tag in ipairs(KEYS) do
    local due = call('ZRANGEBYSCORE', tag .. 'lanes', '-inf', turn, 'WITHSCORES', 'LIMIT', 0, most + (full[place] or 0))
    for at = 1, #due, 2 do
        local room = rooms[due[at]] or room_of_each
        if room > 0 then
            lanes[#lanes + 1] = { place, due[at], room, tonumber(due[at + 1]) }
        end
    end
end
table.sort(lanes, function(a, b)
    return a[4] < b[4]
end)
for _, lane in ipairs(lanes) do
    local room = math.min(lane[3], wanted - #answer)
    if room <= 0 or bytes >= enough then
        break
    end
    serve(lane[1], lane[2], room)
end
return answer
