-- find_run: a run of a workspace, by its id.
--
-- KEYS    what the keys of each bucket begin with
-- ARGV    the workspace, the number of the key where it has published events (0: none of these),
--         the id
-- answer  the owner, and what `reading` says; or nil

local workspace, id = ARGV[1], ARGV[3]
local published = tonumber(ARGV[2])

for place, tag in ipairs(KEYS) do
    if place == published and call('HEXISTS', tag .. 'runs:' .. workspace, id) == 1 then
        return { workspace, read_run(tag, workspace, id) }
    end
    for _, owner in ipairs(call('ZRANGE', tag .. 'workspace:' .. workspace, 0, -1)) do
        if call('HEXISTS', tag .. 'runs:' .. owner, id) == 1 then
            return { owner, read_run(tag, owner, id) }
        end
    end
end
return false
