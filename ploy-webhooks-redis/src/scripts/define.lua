#!lua
-- define: sets a definition that is at the expected revision.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    its kind, the workspace, its name, the expected revision (empty: there is none), the one that
--         it gets, its text
-- answer  1; or the revision that it is at, as text, which is empty where there is none

local call = redis.call
local key = KEYS[1] .. ARGV[1] .. ':' .. ARGV[2]
local kept = call('HGET', key, ARGV[3])
local stands = kept and string.match(kept, '^(%d+):') or ''
if stands ~= ARGV[4] then
    return stands
end
call('HSET', key, ARGV[3], ARGV[5] .. ':' .. ARGV[6])
call('ZADD', KEYS[1] .. ARGV[1] .. '-names:' .. ARGV[2], 0, ARGV[3])
return 1
