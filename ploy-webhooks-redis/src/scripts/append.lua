-- append: accepts a batch of events, each for itself.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the channel, whether duplicates are waited for, the number of groups; for each group
--         the number of its key, the owner, the workspace, the revision that the events were
--         checked against (empty: the app published them), the quota that they are under (empty:
--         none) and its period in milliseconds (0: the endpoint's life), how many events there
--         are, how many runs, how many deduplication keys, and for each event whether it has a key
--         (1 byte) and how many runs it owes (2 bytes), empty where none has either; what the feed
--         is told where all are stored; then
--         for each event 0 and its index entry,
--         for each event its id, and headers and payload,
--         for each run its id, its record without the time, and its delay,
--         for each key the key, and its window
-- answer  1 where all are stored; otherwise for each event 1, 0 (fenced), -1 (it owes a run of an
--         id that is there), the id that it repeats, or, where it is past its quota, an array of
--         the milliseconds after which that begins anew, which is empty where it never does
--
-- Everything is looked at before anything of a group is written. What can still fail after a write
-- is a key of another type than this crate gives it; nobody knows then what of the batch is stored.
--
-- Most groups are stored as they are, and are written from where they stand, without a look at
-- each event.

local call = redis.call
local ARGV, KEYS = ARGV, KEYS

local SLICE = 4000 -- unpack has a bound of about 8,000

local function write(command, key, values, first, last)
    for from = first, last, SLICE do
        call(command, key, unpack(values, from, math.min(from + SLICE - 1, last)))
    end
end

local now, turn
local function tell_time()
    if not now then
        local time = call('TIME')
        turn = time[1] * 1000 + time[2] / 1000
        now = math.floor(turn)
    end
end

-- Which of the runs have the id of one that is there, or of one before them in the batch.
local function taken_ids(key, runs_at, count)
    local ids, taken, is_any, batch = {}, {}, false, {}
    for run = 1, count do
        local id = ARGV[runs_at + 3 * (run - 1)]
        ids[run] = id
        is_any = is_any or batch[id]
        batch[id] = true
    end
    for from = 1, count, SLICE do
        local last = math.min(from + SLICE - 1, count)
        local kept = call('HMGET', key, unpack(ids, from, last))
        for place = 1, last - from + 1 do
            if kept[place] then
                taken[ids[from + place - 1]] = true
                is_any = true
            end
        end
    end
    return taken, is_any
end

-- Has a run stand in the line of what is delivered there.
local function stand(lines, destination, due_at, id)
    local line = lines[destination]
    if not line then
        line = { least = due_at }
        lines[destination] = line
    end
    line.least = math.min(line.least, due_at)
    line[#line + 1] = string.format('%.0f', due_at)
    line[#line + 1] = id
end

-- Writes the lines to destinations, and has the lane of each stand where it belongs.
local function write_lines(tag, owner, lines)
    for destination, line in pairs(lines) do
        write('ZADD', tag .. 'line:' .. owner .. ':' .. destination, line, 1, #line)
        if call('ZADD', tag .. 'senders:' .. destination, 'LT', string.format('%.0f', line.least), owner) == 1 then
            call('SADD', tag .. 'receivers:' .. owner, destination)
        end
        local least = line.least > now and line.least or turn
        call('ZADD', tag .. 'lanes', 'LT', string.format('%.3f', least), destination)
    end
end

-- Writes those of the runs: by their numbers, or all of them.
local function write_runs(tag, owner, runs_at, count, numbers)
    tell_time()
    local made_at = struct.pack('>I6', now)
    local fields, queued, delayed, line, least = {}, {}, {}, {}, math.huge
    local lines = nil
    for place = 1, count do
        local at = runs_at + 3 * ((numbers and numbers[place] or place) - 1)
        local id = ARGV[at]
        fields[2 * place - 1] = id
        fields[2 * place] = made_at .. ARGV[at + 1]
        local destination = string.match(ARGV[at + 1], DELIVERY, 17)
        if destination then
            delayed[#delayed + 1] = '0'
            delayed[#delayed + 1] = id
            lines = lines or {}
            stand(lines, destination, now + tonumber(ARGV[at + 2]), id)
        elseif ARGV[at + 2] == '0' then
            queued[#queued + 1] = '0'
            queued[#queued + 1] = id
        else
            local due = now + tonumber(ARGV[at + 2])
            least = math.min(least, due)
            delayed[#delayed + 1] = '0'
            delayed[#delayed + 1] = id
            line[#line + 1] = string.format('%.0f', due)
            line[#line + 1] = id
        end
    end
    if #queued > 0 then
        -- Behind the lanes that were served before, in the same millisecond too.
        least = turn
    end
    write('HSET', tag .. 'runs:' .. owner, fields, 1, #fields)
    write('ZADD', tag .. 'queued:' .. owner, queued, 1, #queued)
    write('ZADD', tag .. 'delayed:' .. owner, delayed, 1, #delayed)
    write('ZADD', tag .. 'line:' .. owner, line, 1, #line)
    if least < math.huge then
        call('ZADD', tag .. 'lanes', 'LT', string.format('%.3f', least), owner)
    end
    if lines then
        write_lines(tag, owner, lines)
    end
end

-- What is left of a quota: how many events, and the verdict on those past it. `kept` is how many were
-- counted, of which period.
local function rest_of(quota, period, kept)
    local number, resets = 0, {}
    if period > 0 then
        tell_time()
        number = math.floor(now / period)
        resets[1] = period - now % period
    end
    local used = 0
    if kept then
        local kept_period, kept_number, kept_used = string.match(kept, '^(%d+) (%d+) (%d+)$')
        kept_period, kept_number, kept_used = tonumber(kept_period), tonumber(kept_number), tonumber(kept_used)
        -- A clock that is set back a little gives no period twice.
        if kept_period == period and (kept_number == number or kept_number == number + 1) then
            number, used = kept_number, kept_used
        end
    end
    return { period = period, number = number, used = used, left = quota - used, resets = resets }
end

local function count(tag, owner, rest, stored)
    call('HSET', tag .. 'endpoint:' .. owner, 'quota',
        string.format('%.0f %.0f %.0f', rest.period, rest.number, rest.used + stored))
end

local verdicts, all_stored, owes = {}, true, false
local at = 4
for _ = 1, tonumber(ARGV[3]) do
    local tag, owner, workspace, revision = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local quota, period = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
    local events, run_count, key_count = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
    local more = ARGV[at + 9]
    local index_at = at + 11
    local all_told = ARGV[at + 10]
    local contents_at = index_at + 2 * events
    local runs_at = contents_at + 2 * events
    local keys_at = runs_at + 3 * run_count
    at = keys_at + 2 * key_count

    local is_open, rest = true, nil
    if quota then
        local endpoint = call('HMGET', tag .. 'endpoint:' .. owner, 'revision', 'workspace', 'quota')
        is_open = endpoint[1] == revision and endpoint[2] == workspace
        rest = is_open and rest_of(quota, period, endpoint[3])
    elseif revision ~= '' then
        local endpoint = call('HMGET', tag .. 'endpoint:' .. owner, 'revision', 'workspace')
        is_open = endpoint[1] == revision and endpoint[2] == workspace
    end
    local left = rest and rest.left or math.huge
    local taken, is_any_taken = {}, false
    if is_open and run_count > 0 then
        taken, is_any_taken = taken_ids(tag .. 'runs:' .. owner, runs_at, run_count)
    end

    local payloads_key, index_key = tag .. 'payloads:' .. owner, tag .. 'index:' .. owner
    if is_open and key_count == 0 and not is_any_taken and events <= left then
        write('HSET', payloads_key, ARGV, contents_at, contents_at + 2 * events - 1)
        write('ZADD', index_key, ARGV, index_at, index_at + 2 * events - 1)
        if run_count > 0 then
            write_runs(tag, owner, runs_at, run_count)
            owes = true
        end
        if rest then
            count(tag, owner, rest, events)
        end
        note(tag, owner, all_told)
        for _ = 1, events do
            verdicts[#verdicts + 1] = 1
        end
    else
        local stored = 0
        local index, payloads, runs, seen, first_of, told = {}, {}, {}, {}, {}, { 'e' }
        local run, key_at = 1, keys_at
        for event = 0, events - 1 do
            local id = ARGV[contents_at + 2 * event]
            local has_key, owed, seen_key = 0, 0, nil
            if more ~= '' then
                has_key, owed = struct.unpack('>I1I2', more, 3 * event + 1)
            end
            local verdict = 1
            if has_key == 1 then
                seen_key = tag .. 'seen:' .. owner .. ':' .. ARGV[key_at]
                key_at = key_at + 2
            end
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
            if verdict == 1 and stored >= left then
                verdict = rest.resets
            end
            if verdict == 1 then
                for number = run, run + owed - 1 do
                    if taken[ARGV[runs_at + 3 * (number - 1)]] then
                        -- Another event's, which would be written over.
                        verdict = -1
                        break
                    end
                end
            end
            verdicts[#verdicts + 1] = verdict
            all_stored = all_stored and verdict == 1
            if verdict == 1 then
                stored = stored + 1
                told[#told + 1] = id
                index[#index + 1] = '0'
                index[#index + 1] = ARGV[index_at + 2 * event + 1]
                payloads[#payloads + 1] = id
                payloads[#payloads + 1] = ARGV[contents_at + 2 * event + 1]
                if seen_key then
                    first_of[seen_key] = id
                    seen[#seen + 1] = { seen_key, id, ARGV[key_at - 1] }
                end
                for number = run, run + owed - 1 do
                    runs[#runs + 1] = number
                    taken[ARGV[runs_at + 3 * (number - 1)]] = true
                end
            end
            run = run + owed
        end
        write('HSET', payloads_key, payloads, 1, #payloads)
        write('ZADD', index_key, index, 1, #index)
        if #runs > 0 then
            write_runs(tag, owner, runs_at, #runs, runs)
            owes = true
        end
        if rest and stored > 0 then
            count(tag, owner, rest, stored)
        end
        for _, first in ipairs(seen) do
            call('SET', first[1], first[2], 'PX', first[3])
        end
        if stored > 0 then
            note(tag, owner, table.concat(told))
        end
    end
end

if owes then
    -- All is written by now: a message that is refused, as to a user without channels, undoes nothing,
    -- and who waits looks from time to time anyhow.
    redis.pcall('PUBLISH', ARGV[1], '')
end
return all_stored and 1 or verdicts
