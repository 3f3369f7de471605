#!lua flags=allow-oom
-- admit: counts an event against a rate, if it is within it.
--
-- The generic cell rate algorithm, kept as what is left to work off (the theoretical arrival time
-- less the present, in events) and when that was so: small numbers, which doubles hold exactly
-- enough at any rate.
--
-- KEYS    the key of the rate
-- ARGV    events a second, events at once
-- answer  above 0: after how many microseconds one would be admitted; otherwise it is, and so many
--         more would be right now, below 0

local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local left = 0
local kept = redis.call('GET', KEYS[1])
if kept then
    local was_left, since = string.match(kept, '^(%S+) (%S+)$')
    left = math.max(0, tonumber(was_left) - math.max(0, now - tonumber(since)) * rate / 1000000)
    -- The endpoint may have had a larger burst.
    left = math.min(left, burst)
end
if left + 1 > burst then
    return math.max(1, math.ceil((left + 1 - burst) / rate * 1000000))
end
left = left + 1
redis.call('SET', KEYS[1], string.format('%.17g %.0f', left, now), 'PX', math.ceil(left / rate * 1000) + 1)
return -math.floor(burst - left)
