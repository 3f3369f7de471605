#!lua flags=no-writes
-- definitions: a workspace's definitions of one kind, in the order of the bytes of their names.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    the kind, the workspace, where to begin, how many at most
-- answer  for each its name, and its revision and its text

local call = redis.call
local names = call('ZRANGEBYLEX', KEYS[1] .. ARGV[1] .. '-names:' .. ARGV[2], ARGV[3], '+', 'LIMIT', 0, ARGV[4])
local answer = {}
for place, name in ipairs(names) do
    answer[place] = { name, call('HGET', KEYS[1] .. ARGV[1] .. ':' .. ARGV[2], name) }
end
return answer
