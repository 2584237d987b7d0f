-- wrk: pushes one failure at a time to a Pushgateway, as a script would do it.
function init()
    wrk.method = "POST"
    wrk.path = "/metrics/job/smtpeter"
    wrk.body = 'smtpeter_failures{state="rcptto",code_class="5xx",extended="5.1.1"} 1\n'
end

function done(summary)
    io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration,
        summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
