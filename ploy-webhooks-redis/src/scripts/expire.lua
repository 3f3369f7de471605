-- expire: removes events of an owner that are old enough, with what they owed. Works when memory is
-- full: it frees some.
--
-- KEYS    what the keys of the bucket begin with
-- ARGV    the owner, its workspace, the revision that it is to be at (empty: the app published the
--         events), how many milliseconds old they are to be (empty: any age), where to begin, how
--         many are looked at at most, after how many bytes of payload it is enough
-- answer  nil where the endpoint is not at that revision; or how many are gone, and the id at which
--         to go on (empty: there are no more)

local tag, owner = KEYS[1], ARGV[1]
if ARGV[3] ~= '' then
    local endpoint = call('HMGET', tag .. 'endpoint:' .. owner, 'revision', 'workspace')
    if endpoint[1] ~= ARGV[3] or endpoint[2] ~= ARGV[2] then
        return false
    end
end
local latest = ARGV[4] == '' and math.huge or now - tonumber(ARGV[4])
local most, enough = tonumber(ARGV[6]), tonumber(ARGV[7])
local runs, index, payloads = tag .. 'runs:' .. owner, tag .. 'index:' .. owner, tag .. 'payloads:' .. owner

-- The ids of all that the event of that entry owes: what it was stored with, and what was added.
local function owed_by(entry)
    local count_at = 22 + string.byte(entry, 21)
    local count = struct.unpack('>I2', entry, count_at)
    local stored_with = sub(entry, count_at + 2, count_at + 1 + 16 * count)
    return stored_with .. (call('HGET', runs, 'o' .. sub(entry, 1, 16)) or '')
end

-- What is to be forgotten of the runs, and of which list each is; nil where one is not over.
local function forgotten(ids)
    local fields, lists = {}, {}
    for at = 1, #ids, 16 do
        local id = sub(ids, at, at + 15)
        local run = call('HMGET', runs, id, id .. 'm')
        local state, attempts = standing(run[2])
        if run[1] and (state == 'q' or state == 'r' or state == 'w') then
            return nil
        end
        for _, field in ipairs({ id, id .. 'm', id .. 'h' }) do
            fields[#fields + 1] = field
        end
        for number = 1, attempts do
            fields[#fields + 1] = id .. 'a' .. digits(number)
        end
        lists[#lists + 1] = { tag .. LISTS[state] .. owner, id }
    end
    return fields, lists
end

local gone, bytes, go_on = 0, 0, ''
local entries = call('ZRANGEBYLEX', index, ARGV[5], '+', 'LIMIT', 0, most + 1)
for number, entry in ipairs(entries) do
    -- An id begins with the time at which it was made, and they come in order.
    if struct.unpack('>I6', entry) > latest then
        break
    end
    local id = sub(entry, 1, 16)
    if number > most or bytes >= enough then
        go_on = id
        break
    end
    local fields, lists = forgotten(owed_by(entry))
    if fields then
        fields[#fields + 1] = 'o' .. id
        for from = 1, #fields, 4000 do
            call('HDEL', runs, unpack(fields, from, math.min(from + 3999, #fields)))
        end
        for _, list in ipairs(lists) do
            call('ZREM', list[1], list[2])
        end
        call('ZREM', index, entry)
        call('HDEL', payloads, id)
        gone = gone + 1
        bytes = bytes + struct.unpack('>I4', entry, 17)
    end
end
return { gone, go_on }
