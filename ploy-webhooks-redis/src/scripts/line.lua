-- line: what the scripts share that move runs. It stands before each of them.

local call = redis.call
local sub = string.sub

local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

-- The list of each state, by its letter. Runs that are queued and wait for a delay have one of their
-- own, and stand in line too: those of `queued` are due, and `queued` is their line.
local LISTS = {
    q = 'queued:', r = 'running:', w = 'retrying:', s = 'succeeded:', f = 'failed:', c = 'cancelled:',
}

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

-- Has a lane stand where it belongs after its line has changed: where the first of the line does,
-- while nothing is due. Otherwise it has a turn, and keeps it unless it was served.
local function line_up(tag, owner, is_served)
    local is_due = call('EXISTS', tag .. 'queued:' .. owner) == 1
    local first = not is_due and call('ZRANGE', tag .. 'line:' .. owner, 0, 0, 'WITHSCORES')
    if not is_due and not first[1] then
        call('ZREM', tag .. 'lanes', owner)
    elseif not is_due and tonumber(first[2]) > now then
        call('ZADD', tag .. 'lanes', first[2], owner)
    else
        -- Microseconds: turns within a millisecond are told apart.
        local turn = string.format('%.3f', micros / 1000)
        if is_served then
            call('ZADD', tag .. 'lanes', turn, owner)
        else
            call('ZADD', tag .. 'lanes', 'LT', turn, owner)
        end
    end
end

-- Tells who waits that there may be something to claim. All is written by then: a message that is
-- refused, as to a user without channels, undoes nothing, and who waits looks from time to time
-- anyhow.
local function tell(channel)
    redis.pcall('PUBLISH', channel, '')
end
