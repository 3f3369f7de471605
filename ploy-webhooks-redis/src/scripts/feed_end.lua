#!lua flags=no-writes
-- feed_end: the last step that was put down for who follows the feed.
--
-- KEYS    what the keys of each bucket begin with
-- answer  for each bucket its id; empty where there is none

local answer = {}
for place, tag in ipairs(KEYS) do
    local last = redis.call('XREVRANGE', tag .. 'feed', '+', '-', 'COUNT', 1)[1]
    answer[place] = last and last[1] or ''
end
return answer
