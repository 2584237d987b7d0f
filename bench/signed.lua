-- wrk: sends the requests in the file REQUESTS, from number START on. A line with its length precedes each request.
local requests = {}
local sent = tonumber(os.getenv("START"))

function init()
    local file = io.open(os.getenv("REQUESTS"), "rb")
    local line = file:read("*l")
    while line do
        requests[#requests + 1] = file:read(tonumber(line))
        line = file:read("*l")
    end
    file:close()
end

function request()
    sent = sent + 1
    return requests[(sent - 1) % #requests + 1]
end

function done(summary)
    io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration,
        summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
