-- note: how what happens is put down for who follows the feed. It stands before the scripts that do so.

-- So many steps are kept of a bucket, more or less: a step is what one call has done to one owner.
local STEPS_MAX = 4096

-- What is said begins with `e`, and then come the ids of events; or with `r`, and then comes for each
-- run its id, the letter of its state, and its attempt.
local function note(tag, owner, said)
    redis.call('XADD', tag .. 'feed', 'MAXLEN', '~', STEPS_MAX, '*', owner, said)
end

local function of_run(id, state, attempt)
    return id .. state .. struct.pack('>I4', attempt)
end
