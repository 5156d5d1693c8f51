-- Turns what nffi.call returns into an HTTP response: JSON, also for errors.

local json = require "json"

local type = type
local ngx = ngx

local _M = {}

-- nffi's own errors that are not simply a failure here.
local STATUS = {
    ["timeout"] = 504,
    ["queue full"] = 503,
    ["shutting down"] = 503,
    ["unloaded"] = 503,
    ["request too large"] = 413,
}

-- The first value of an argument of the query string, unescaped; nil where there is none.
function _M.argument(name)
    local value = ngx.req.get_uri_args()[name]
    if type(value) == "table" then
        value = value[1]
    end
    return value == true and "" or value
end

local function send(status, body)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Content-Length"] = #body + 1
    ngx.say(body)
end

function _M.error(status, message)
    if status == 503 then
        ngx.header["Retry-After"] = 1
    end
    send(status, json.encode { error = message, status = status })
end

-- res is JSON already. A status is the runtime's own; this one answers with HTTP's numbers.
function _M.with(res, err, status)
    if res then
        send(200, res)
    elseif status then
        _M.error(status, err)
    else
        ngx.log(ngx.WARN, "packages: ", err)
        _M.error(STATUS[err] or 500, err)
    end
end

return _M
