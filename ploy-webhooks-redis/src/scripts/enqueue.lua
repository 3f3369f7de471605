-- enqueue: adds runs to what an event owes.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    the channel, the owner, the event, and the id, the record without the time and the delay
--         of each run
-- answer  whether there is such an event; -1 where the owner has a run of one of the ids

local tag, owner, id = KEYS[1], ARGV[2], ARGV[3]
if call('HEXISTS', tag .. 'payloads:' .. owner, id) == 0 then
    return 0
end
local key = tag .. 'runs:' .. owner
for at = 4, #ARGV, 3 do
    if call('HEXISTS', key, ARGV[at]) == 1 then
        return -1
    end
end
local destinations, is_owners = {}, false
local ids, told = { call('HGET', key, 'o' .. id) or '' }, { 'r' }
for at = 4, #ARGV, 3 do
    local run = ARGV[at]
    ids[#ids + 1] = run
    told[#told + 1] = of_run(run, 'q', 0)
    call('HSET', key, run, struct.pack('>I6', now) .. ARGV[at + 1])
    local destination = string.match(ARGV[at + 1], DELIVERY, 17)
    if destination then
        destinations[destination] = true
    else
        is_owners = true
    end
    if ARGV[at + 2] == '0' and not destination then
        call('ZADD', tag .. 'queued:' .. owner, 0, run)
    else
        call('ZADD', tag .. 'delayed:' .. owner, 0, run)
        call('ZADD', tag .. 'line:' .. line_of(owner, destination), digits(now + tonumber(ARGV[at + 2])), run)
    end
end
call('HSET', key, 'o' .. id, table.concat(ids))
if #told > 1 then
    note(tag, owner, table.concat(told))
end
if is_owners then
    line_up(tag, owner)
end
for destination in pairs(destinations) do
    line_up(tag, owner, destination)
end
tell(ARGV[1])
return 1
