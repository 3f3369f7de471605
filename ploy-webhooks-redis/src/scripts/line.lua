-- line: what the scripts share that move runs. It stands before each of them.

local call = redis.call
local sub = string.sub

local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

-- The list of each state, by its letter. Runs that are queued and wait for a delay have one of their
-- own, and stand in line too, as do all that are queued and are delivered: those of `queued` are due,
-- and `queued` is their line.
local LISTS = {
    q = 'queued:', r = 'running:', w = 'retrying:', s = 'succeeded:', f = 'failed:', c = 'cancelled:',
}

-- The line that a run stands in: what is delivered to one destination has another than all else of
-- its owner. It is what `claimed` says of a run.
local function line_of(owner, destination)
    return destination and owner .. ':' .. destination or owner
end

-- Whose line it is, and to which destination.
local function parted(line)
    local at = string.find(line, ':', 1, true)
    if at then
        return sub(line, 1, at - 1), sub(line, at + 1)
    end
    return line
end

-- Where a run of that record is delivered to.
local function destination_of(record)
    return string.match(record, DELIVERY, 23)
end

local function digits(number)
    return string.format('%.0f', number)
end

-- What is kept of a run that changes: the letter of its state, how often it was tried, and how many
-- bytes its attempts have said. One of which nothing is kept has never been claimed.
local function standing(kept)
    if not kept then
        return 'q', 0, 0
    end
    local state, attempts, said = string.match(kept, '^(%a)(%d+):(%d+)$')
    return state, tonumber(attempts), tonumber(said)
end

-- When the first is due that stands there; nil where nobody does.
local function first_due(key)
    return call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
end

-- Has a lane stand where it belongs after a line of it has changed: where the first of the line does,
-- while nothing is due. Otherwise it has a turn, and keeps it unless it was served. The lane of a
-- destination has a line of each owner, and stands where the first of all does.
local function line_up(tag, owner, destination, is_served)
    local lane, due_at = destination or owner, nil
    if destination then
        local senders = tag .. 'senders:' .. destination
        due_at = first_due(tag .. 'line:' .. line_of(owner, destination))
        if due_at then
            if call('ZADD', senders, due_at, owner) == 1 then
                call('SADD', tag .. 'receivers:' .. owner, destination)
            end
        else
            call('ZREM', senders, owner)
            call('SREM', tag .. 'receivers:' .. owner, destination)
        end
        due_at = first_due(senders)
    elseif call('EXISTS', tag .. 'queued:' .. owner) == 1 then
        due_at = now
    else
        due_at = first_due(tag .. 'line:' .. owner)
    end
    if not due_at then
        call('ZREM', tag .. 'lanes', lane)
    elseif tonumber(due_at) > now then
        call('ZADD', tag .. 'lanes', due_at, lane)
    else
        -- Microseconds: turns within a millisecond are told apart.
        local turn = string.format('%.3f', micros / 1000)
        if is_served then
            call('ZADD', tag .. 'lanes', turn, lane)
        else
            call('ZADD', tag .. 'lanes', 'LT', turn, lane)
        end
    end
end

-- Tells who waits that there may be something to claim. All is written by then: a message that is
-- refused, as to a user without channels, undoes nothing, and who waits looks from time to time
-- anyhow.
local function tell(channel)
    redis.pcall('PUBLISH', channel, '')
end
