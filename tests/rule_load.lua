-- For wrk: count answers that are the expected name, and those that are another's.
local threads = {}
right, wrong = 0, 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  expected = arguments[1] .. "\n"
  request_text = wrk.format("GET", "/", { Host = "who", Connection = "close" })
end

function request()
  return request_text
end

function response(status, headers, body)
  if status == 200 and body == expected then
    right = right + 1
  elseif status == 200 then
    wrong = wrong + 1
  end
end

function done(summary, latency, requests)
  local all_right, all_wrong = 0, 0
  for _, thread in ipairs(threads) do
    all_right = all_right + thread:get("right")
    all_wrong = all_wrong + thread:get("wrong")
  end
  print(string.format("ANSWERS %d %d %.0f", all_right, all_wrong, latency:percentile(99)))
end
