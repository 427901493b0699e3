-- Sends each request with the credential of the next logged-in user. Prints the result as one line of JSON.

local requests = {}
local current = 0

function init(args)
  for line in io.lines(args[1]) do
    local name, value = line:match("^([^\t]+)\t(.*)$")
    requests[#requests + 1] = wrk.format("GET", nil, { [name] = value })
  end
end

function request()
  current = current % #requests + 1
  return requests[current]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"durationUs":%d,"p50Us":%d,"p99Us":%d,"refused":%d,"lost":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
