-- wrk (https://github.com/wg/wrk) sends the prepared requests of a file, in order, NUL between them.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    requests, place, refused = {}, -1, 0
    local file = assert(io.open(arguments[1], "rb"))
    for request in file:read("*a"):gmatch("[^%z]+") do
        table.insert(requests, request)
    end
    file:close()
end

-- wrk asks once before it begins, to see how many requests come at a time.
function request()
    place = place + 1
    return requests[math.max(place, 1)] or requests[1]
end

-- The apology is no reply: the message was not saved.
function response(status, headers, body)
    local is_reply = body:find("<Message", 1, true) and not body:find("Sorry, I couldn't save", 1, true)
    if status ~= 200 or not is_reply then
        refused = refused + 1
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    local lost = errors.connect + errors.read + errors.write + errors.timeout
    print(string.format(
        '{"seconds": %f, "answered": %d, "refused": %d}',
        summary.duration / 1e6, summary.requests, threads[1]:get("refused") + lost
    ))
end
