#!lua flags=no-writes
-- range: the entries of a workspace's indexes or lists, in the order of the ids they begin with.
--
-- Each owner has some of its own; they are merged through a heap of their heads, so that
-- only what is answered is read, and a little more.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the workspace, the number of the key where it has published events (0: none of these),
--         one owner (empty: all), where to begin and where to end, 1 for the greatest first,
--         how many at most, and what the names of the wanted sets begin with
-- answer  whether there are more, and for each entry the owner, the number of the key, the entry

local call = redis.call
local workspace, only = ARGV[1], ARGV[3]
local first, last = ARGV[4], ARGV[5]
local turned = ARGV[6] == '1'
local limit = tonumber(ARGV[7])
local command = turned and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX'

-- Lua compares strings by the server's locale. Ids are compared as numbers, which doubles hold.
local function head_of(entry)
    local high, middle, low = struct.unpack('>I6I6I4', entry)
    return { high, middle, low, entry = entry }
end

local function comes_before(a, b)
    for part = 1, 3 do
        if a[part] ~= b[part] then
            return (a[part] < b[part]) ~= turned
        end
    end
    return false
end

local function read(source)
    source.entries = call(command, source.key, source.from, last, 'LIMIT', 0, source.size)
    source.at = 1
    local count = #source.entries
    source.is_over = count < source.size
    if count > 0 then
        source.from = '(' .. source.entries[count]
    end
    -- Whoever is read on has much: fewer and larger reads.
    source.size = math.min(source.size * 4, limit)
    return count > 0
end

local owners = {}
for place, tag in ipairs(KEYS) do
    if only ~= '' then
        if call('HGET', tag .. 'endpoint:' .. only, 'workspace') == workspace then
            owners[#owners + 1] = { place, only }
        end
    else
        if place == tonumber(ARGV[2]) then
            owners[#owners + 1] = { place, workspace }
        end
        for _, owner in ipairs(call('ZRANGE', tag .. 'workspace:' .. workspace, 0, -1)) do
            owners[#owners + 1] = { place, owner }
        end
    end
end

local heap = {}
local function sink(at)
    local sunk, count = heap[at], #heap
    while true do
        local child = at * 2
        if child > count then
            break
        end
        if child < count and comes_before(heap[child + 1].head, heap[child].head) then
            child = child + 1
        end
        if not comes_before(heap[child].head, sunk.head) then
            break
        end
        heap[at] = heap[child]
        at = child
    end
    heap[at] = sunk
end

local begin = math.max(1, math.ceil(2 * limit / math.max(1, #owners)))
for _, owner in ipairs(owners) do
    for name = 8, #ARGV do
        local source = {
            place = owner[1],
            owner = owner[2],
            key = KEYS[owner[1]] .. ARGV[name] .. owner[2],
            from = first,
            size = math.min(begin, limit),
        }
        if read(source) then
            source.head = head_of(source.entries[1])
            heap[#heap + 1] = source
        end
    end
end
for at = math.floor(#heap / 2), 1, -1 do
    sink(at)
end

local answer = { 0 }
while #heap > 0 do
    if #answer > 3 * limit then
        answer[1] = 1
        break
    end
    local source = heap[1]
    answer[#answer + 1] = source.owner
    answer[#answer + 1] = source.place
    answer[#answer + 1] = source.head.entry
    source.at = source.at + 1
    if source.at > #source.entries and (source.is_over or not read(source)) then
        heap[1] = heap[#heap]
        heap[#heap] = nil
    else
        source.head = head_of(source.entries[source.at])
    end
    if #heap > 1 then
        sink(1)
    end
end
return answer
