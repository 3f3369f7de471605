-- claim: claims runs that are due, for the time of a lease. What is owed is carried out also when
-- memory is full: that is how it ends.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    how many at most, the lease in milliseconds, after how many bytes of payload it is
--         enough, who claims, how much room there is in a lane, and in that of a destination, and
--         where there is another, the number of its key (0: any), the lane and its room
-- answer  for each run the number of the key, the owner, the workspace, its id, the number of the
--         attempt, the letter of the state that it was in, its record, and of its event the index
--         entry, and headers and payload

-- What is more would be too much for unpack, which has a bound of about 8,000.
local wanted = math.min(tonumber(ARGV[1]), 1000)
local lease, enough = tonumber(ARGV[2]), tonumber(ARGV[3])
local worker, room_of_each, room_of_destination = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local rooms, full = {}, {}
for at = 7, #ARGV, 3 do
    local place, room = tonumber(ARGV[at]), tonumber(ARGV[at + 2])
    rooms[ARGV[at + 1]] = room
    full[place] = (full[place] or 0) + (room == 0 and 1 or 0)
end

local until_then = digits(now + lease)
local answer, bytes = {}, 0

-- How much room there is left. What is due to one destination in several buckets shares it.
local function room_of(lane)
    return rooms[lane] or (sub(lane, 1, 4) == 'dst_' and room_of_destination or room_of_each)
end

-- What is due in a line, what has waited longest first, and where each stands.
local function due_in(tag, line, most)
    local waited = call('ZRANGEBYSCORE', tag .. 'line:' .. line, '-inf', digits(now), 'WITHSCORES', 'LIMIT', 0, most)
    local queued = call('ZRANGE', tag .. 'queued:' .. line, 0, most - 1)
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

local function serve_line(place, owner, destination, room)
    local tag = KEYS[place]
    local line = line_of(owner, destination)
    local key = tag .. 'runs:' .. owner
    local workspace = call('HGET', tag .. 'endpoint:' .. owner, 'workspace') or owner
    local moved, fields, running, claimed, left, told = {}, {}, {}, {}, {}, { 'r' }
    local ids, lists = due_in(tag, line, room)
    for number, id in ipairs(ids) do
        if bytes >= enough then
            break
        end
        local run = call('HMGET', key, id, id .. 'm')
        local event = run[1] and sub(run[1], 7, 22)
        local payload = event and call('HGET', tag .. 'payloads:' .. owner, event)
        if not payload then
            -- Not as it was written: nobody can carry it out, and the others go on.
            call('ZREM', tag .. lists[number] .. line, id)
        else
            local state, attempts, said = standing(run[2])
            local attempt = digits(attempts + 1)
            told[#told + 1] = of_run(id, 'r', attempts + 1)
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
                claimed[#claimed + 1] = line
            end
            local entry = call('ZRANGEBYLEX', tag .. 'index:' .. owner, '[' .. event, '+', 'LIMIT', 0, 1)[1]
            answer[#answer + 1] = { place, owner, workspace, id, attempt, state, run[1], entry, payload }
            bytes = bytes + #payload
        end
    end
    if #moved > 0 then
        call('ZADD', tag .. 'line:' .. line, unpack(moved))
        call('HSET', key, unpack(fields))
        note(tag, owner, table.concat(told))
    end
    if #running > 0 then
        call('ZADD', tag .. LISTS.r .. owner, unpack(running))
        call('HSET', tag .. 'claimed', unpack(claimed))
    end
    for list, of_list in pairs(left) do
        call('ZREM', tag .. list .. owner, unpack(of_list))
    end
    line_up(tag, owner, destination, true)
end

local function serve(place, lane, room)
    if sub(lane, 1, 4) ~= 'dst_' then
        return serve_line(place, lane, nil, room)
    end
    -- Of each there is something due: no more of them are needed.
    local before, senders = #answer, KEYS[place] .. 'senders:' .. lane
    for _, owner in ipairs(call('ZRANGEBYSCORE', senders, '-inf', digits(now), 'LIMIT', 0, room)) do
        local left = room - (#answer - before)
        if left > 0 and bytes < enough then
            serve_line(place, owner, lane, left)
        end
    end
    rooms[lane] = room_of(lane) - (#answer - before)
end

-- Each lane that is not full has something to give, so of one bucket no more of them are needed;
-- of many buckets, each gives some.
local most = math.min(wanted, math.ceil(4 * wanted / #KEYS) + 16)
local turn = string.format('%.3f', micros / 1000)
local lanes = {}
for place, tag in ipairs(KEYS) do
    local passed = (full[place] or 0) + (full[0] or 0)
    local due = call('ZRANGEBYSCORE', tag .. 'lanes', '-inf', turn, 'WITHSCORES', 'LIMIT', 0, most + passed)
    for at = 1, #due, 2 do
        if room_of(due[at]) > 0 then
            lanes[#lanes + 1] = { place, due[at], tonumber(due[at + 1]) }
        end
    end
end
table.sort(lanes, function(a, b)
    return a[3] < b[3]
end)
for _, lane in ipairs(lanes) do
    local left = wanted - #answer
    if left <= 0 or bytes >= enough then
        break
    end
    local room = math.min(room_of(lane[2]), left)
    if room > 0 then
        serve(lane[1], lane[2], room)
    end
end
return answer
