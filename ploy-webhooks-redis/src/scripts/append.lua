#!lua
-- append: accepts a batch of events, each for itself.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the channel, whether duplicates are waited for, the number of groups; for each group
--         the number of its key, the owner, the workspace, the revision that the events were
--         checked against (empty: the app published them), the number of events; for each event
--         its index entry, its headers and payload, and what it has besides: empty, or whether
--         it has a deduplication key and how many runs it owes, followed by the key and its
--         window, and by the id, the record and the delay of each run
-- answer  1 where all are stored; otherwise for each event 1, 0 (fenced), -1 (it owes a run of an
--         id that is there), or the id that it repeats
--
-- Everything is looked at before anything of a group is written. What can still fail after a write
-- is a key of another type than this crate gives it; nobody knows then what of the batch is stored.

local call = redis.call
local ARGV, KEYS = ARGV, KEYS
local sub = string.sub

local SLICE = 4000 -- unpack has a bound of about 8,000

local function write(command, key, values)
    local count = #values
    for from = 1, count, SLICE do
        call(command, key, unpack(values, from, math.min(from + SLICE - 1, count)))
    end
end

local now, turn
local function millis()
    if not now then
        local time = call('TIME')
        turn = time[1] * 1000 + time[2] / 1000
        now = math.floor(turn)
    end
    return now
end

local verdicts, all_stored, owes = {}, true, false
local at = 4
for _ = 1, tonumber(ARGV[3]) do
    local tag, owner, workspace, revision = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local events = tonumber(ARGV[at + 4])
    at = at + 5

    local is_open = true
    if revision ~= '' then
        local endpoint = call('HMGET', tag .. 'endpoint:' .. owner, 'revision', 'workspace')
        is_open = endpoint[1] == revision and endpoint[2] == workspace
    end

    local index, payloads, runs, queued, line, seen, first_of, owed = {}, {}, {}, {}, {}, {}, {}, {}
    local least_delay = math.huge
    for _ = 1, events do
        local entry, payload, more = ARGV[at], ARGV[at + 1], ARGV[at + 2]
        at = at + 3
        local id = sub(entry, 1, 16)
        local seen_key, window, run_count, runs_at
        if more ~= '' then
            local has_key, count = string.match(more, '^(%d):(%d+)$')
            if has_key == '1' then
                seen_key, window = tag .. 'seen:' .. owner .. ':' .. ARGV[at], ARGV[at + 1]
                at = at + 2
            end
            run_count, runs_at = tonumber(count), at
            at = at + 3 * run_count
        end

        local verdict = 1
        if not is_open then
            verdict = 0
        elseif seen_key then
            local first = first_of[seen_key]
            if not first then
                first = call('GET', seen_key)
                if first and ARGV[2] == '1' then
                    -- Who waits for a disk or a replica waits for the writes of its own
                    -- connection: with this one, for that of the event that is repeated too.
                    -- (Redis 7.0 counts those of others as well, and does not promise it.)
                    call('SET', seen_key, first, 'KEEPTTL')
                end
            end
            verdict = first or verdict
        end
        if verdict == 1 and run_count and run_count > 0 then
            for run = 0, run_count - 1 do
                local run_id = ARGV[runs_at + 3 * run]
                if owed[run_id] or call('HEXISTS', tag .. 'runs:' .. owner, run_id .. 's') == 1 then
                    -- Another event's, which would be written over.
                    verdict = -1
                    break
                end
            end
        end
        if verdict == 1 and seen_key then
            first_of[seen_key] = id
            seen[#seen + 1] = { seen_key, id, window }
        end
        verdicts[#verdicts + 1] = verdict
        all_stored = all_stored and verdict == 1

        if verdict == 1 then
            index[#index + 1] = '0'
            index[#index + 1] = entry
            payloads[#payloads + 1] = id
            payloads[#payloads + 1] = payload
            if run_count and run_count > 0 then
                owes = true
                local ids = {}
                for run = 0, run_count - 1 do
                    local run_id = ARGV[runs_at + 3 * run]
                    owed[run_id] = true
                    ids[#ids + 1] = run_id
                    runs[#runs + 1] = run_id .. 's'
                    runs[#runs + 1] = id .. string.format('%.0f:', millis()) .. ARGV[runs_at + 3 * run + 1]
                    queued[#queued + 1] = '0'
                    queued[#queued + 1] = run_id
                    local delay = tonumber(ARGV[runs_at + 3 * run + 2])
                    least_delay = math.min(least_delay, delay)
                    line[#line + 1] = string.format('%.0f', millis() + delay)
                    line[#line + 1] = run_id
                end
                runs[#runs + 1] = 'o' .. id
                runs[#runs + 1] = table.concat(ids)
            end
        end
    end

    write('HSET', tag .. 'payloads:' .. owner, payloads)
    write('ZADD', tag .. 'index:' .. owner, index)
    write('HSET', tag .. 'runs:' .. owner, runs)
    if #line > 0 then
        write('ZADD', tag .. 'queued:' .. owner, queued)
        write('ZADD', tag .. 'line:' .. owner, line)
        -- Behind the lanes that were served before, in the same millisecond too.
        call('ZADD', tag .. 'lanes', 'LT', string.format('%.3f', math.max(turn, now + least_delay)), owner)
    end
    for _, first in ipairs(seen) do
        call('SET', first[1], first[2], 'PX', first[3])
    end
end

if owes then
    -- All is written by now: a message that is refused, as to a user without channels, undoes nothing,
    -- and who waits looks from time to time anyhow.
    redis.pcall('PUBLISH', ARGV[1], '')
end
return all_stored and 1 or verdicts
