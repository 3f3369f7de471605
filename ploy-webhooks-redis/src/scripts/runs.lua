-- runs: what an event owes, and what came of it.
--
-- KEYS    what the keys of its bucket begin with
-- ARGV    the owner, the event, and the ids of the runs that it was stored with, one after the other
-- answer  for each run what `reading` says

local tag, owner = KEYS[1], ARGV[1]
local ids = ARGV[3] .. (call('HGET', tag .. 'runs:' .. owner, 'o' .. ARGV[2]) or '')
local answer = {}
for at = 1, #ids, 16 do
    answer[#answer + 1] = read_run(tag, owner, string.sub(ids, at, at + 15))
end
return answer
