#!lua
-- observe: adds up what nodes have observed of the senders of endpoints.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    how many names an endpoint has at most, the number of endpoints; for each the number of
--         its key, its id, its workspace, the number of names, and for each of these the name, how
--         often it was observed, and when it was last
-- answer  1

local call = redis.call
local NAMES_MAX = tonumber(ARGV[1])
local COUNT_MAX = 2 ^ 53 -- up to which doubles count

local function add(kept, count, last_at)
    if kept then
        local kept_count, kept_at = string.match(kept, '^(%d+) (%d+)$')
        count, last_at = count + tonumber(kept_count), math.max(last_at, tonumber(kept_at))
    end
    return string.format('%.0f %.0f', math.min(count, COUNT_MAX), last_at)
end

local at = 3
for _ = 1, tonumber(ARGV[2]) do
    local tag, id, workspace = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
    local names_at = at + 4
    at = names_at + 3 * tonumber(ARGV[at + 3])
    if call('HGET', tag .. 'endpoint:' .. id, 'workspace') == workspace then
        local key = tag .. 'observed:' .. id
        local names = call('HLEN', key)
        for place = names_at, at - 3, 3 do
            local kept = call('HGET', key, ARGV[place])
            if kept or names < NAMES_MAX then
                names = kept and names or names + 1
                local count, last_at = tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])
                call('HSET', key, ARGV[place], add(kept, count, last_at))
            end
        end
    end
end
return 1
