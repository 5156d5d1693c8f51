-- Helpers of the suites' Lua code.
local nffi = require "resty.nffi"

local _M = {}

-- Values as one line; trailing nils are left out, and so is what follows an answer (nil, 0).
function _M.show(...)
  local last = select("#", ...)
  if last == 3 and type((...)) == "string" and select(2, ...) == nil and select(3, ...) == 0 then
    last = 1
  end
  while last > 1 and (select(last, ...)) == nil do
    last = last - 1
  end
  local words = {}
  for i = 1, last do
    words[i] = tostring((select(i, ...)))
  end
  ngx.say(table.concat(words, " | "))
end

-- A counter of the fixture's own, or all of them as text.
function _M.report(key, name)
  local text, err = nffi.call(name or "fixture", "report")
  if not text then
    error("no report: " .. tostring(err))
  end
  if not key then
    return text
  end
  return tonumber(text:match('"' .. key .. '":(-?%d+)'))
end

-- An entry of nffi.runtimes(), or one field of it.
function _M.info(field, name)
  for _, entry in ipairs(nffi.runtimes()) do
    if entry.name == (name or "fixture") then
      if field then
        return entry[field]
      end
      return entry
    end
  end
end

-- Until condition() is true; false after ms milliseconds.
function _M.wait(ms, condition)
  local deadline = ngx.now() + ms / 1000
  while not condition() do
    if ngx.now() > deadline then
      return false
    end
    ngx.sleep(0.005)
  end
  return true
end

-- Calls another runtime all the time, one turn of the loop each: turns so far, and stop(), which returns them.
function _M.ticker(name)
  local ticker, over = { turns = 0 }, false
  local thread = ngx.thread.spawn(function()
    while not over do
      assert(nffi.call(name, "echo x"))
      ticker.turns = ticker.turns + 1
    end
  end)
  function ticker.stop()
    over = true
    ngx.thread.wait(thread)
    return ticker.turns
  end
  return ticker
end

-- Waits until the runtime has taken all that was queued.
function _M.polled(name)
  return _M.wait(5000, function() return _M.info("queued", name) == 0 end)
end

-- Has the host let go of everything? Waits a little: drains come one loop later.
function _M.idle(name)
  local ok = _M.wait(1500, function()
    local i = _M.info(nil, name)
    return i.queued == 0 and i.in_flight == 0 and i.abandoned == 0
  end)
  if ok then
    return "idle"
  end
  local i = _M.info(nil, name)
  return "queued " .. i.queued .. ", in flight " .. i.in_flight .. ", abandoned " .. i.abandoned
end

return _M
