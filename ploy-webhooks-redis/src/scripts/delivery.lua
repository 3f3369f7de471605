-- delivery: how a run that delivers is told. It stands before the scripts that need it.

-- What a run carries out is JSON, and that of a delivery begins with where it goes.
local DELIVERY = '^{"destination":"(dst_%w+)"'
