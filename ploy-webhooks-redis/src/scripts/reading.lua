-- reading: what the scripts share that read runs. It stands before each of them.

local call = redis.call

-- Where a run stands that has never been claimed, of which nothing is kept.
local QUEUED = 'q0:0'

-- A run of that owner: its id, what never changes about it, where it stands, and a record of each
-- attempt (nil: none).
local function read_run(tag, owner, id)
    local key = tag .. 'runs:' .. owner
    local run = call('HMGET', key, id, id .. 'm')
    local kept = run[2] or QUEUED
    local attempts = {}
    for number = 1, tonumber(string.match(kept, '^%a(%d+):') or '0') do
        attempts[number] = call('HGET', key, id .. 'a' .. number)
    end
    return { id, run[1], kept, attempts }
end
