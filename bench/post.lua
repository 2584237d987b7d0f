-- wrk: posts forms of about 250 bytes, each with its own id.
local run = os.getenv("RUN") or "0"
local threads = 0

function setup(thread)
    thread:set("number", threads)
    threads = threads + 1
end

function init()
    sent = 0
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
end

function request()
    sent = sent + 1
    return wrk.format(nil, "/failures", nil,
        "id=" .. run .. "x" .. number .. "x" .. sent ..
        "&recipient=someone" .. sent % 1000 .. "%40example.com&state=rcptto&code=550&extended=5.1.1" ..
        "&description=550+5.1.1+The+email+account+that+you+tried+to+reach+does+not+exist.&type=failure&action=failed" ..
        "&time=1790000000&timestamp=2026-09-21+10%3A13%3A20&tags=newsletter")
end

function done(summary)
    io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration,
        summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
