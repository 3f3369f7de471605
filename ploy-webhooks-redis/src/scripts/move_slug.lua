#!lua flags=allow-oom
-- move_slug: gives a slug from one endpoint to another, or to none, if it still has the first.
--
-- KEYS    the slug's
-- ARGV    the endpoint that has it, the endpoint that gets it (empty: none)
-- answer  whether it had it

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2])
end
return 1
