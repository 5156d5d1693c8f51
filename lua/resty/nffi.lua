-- Calls to runtimes: code of any language in this nginx, without blocking it. The calling
-- coroutine sleeps, the worker goes on.
--
--   local nffi = require "resty.nffi"
--   local res, err, status = nffi.call("echo", "hello", { timeout = 500 })
--
-- Functions return their result, or nil and an error; where the error is the runtime's own, its
-- status (an integer other than 0) comes third. README.md lists the errors of nffi itself.

local ffi = require "ffi"
local native = require "resty.nffi.ffi"
local stream = require "resty.nffi.stream"

local C = native.C
local DONE, YIELD = native.DONE, native.YIELD
local co_yield = coroutine._yield
local failure = native.failure
local ffi_str = ffi.string
local get_request = require("resty.core.base").get_request
local open = stream.open
local pairs = pairs
local reply = native.reply
local setmetatable = setmetatable
local settings_t = ffi.typeof("ngx_http_nffi_lua_settings_t")
local sleeper = native.sleeper
local submit = native.submit
local stats_t = ffi.typeof("ngx_http_nffi_lua_stats_t")
local take = native.take
local to_request = native.to_request
local to_timeout = native.to_timeout
local tonumber = tonumber
local tostring = tostring
local type = type

local NAN = 0 / 0
local STATES = { [0] = "starting", "ready", "failed", "unloading", "stopped" }

local _M = { _VERSION = "0.1.0" }

-- A runtime, as load() and get() return it.
local Runtime = {}
local runtime_mt = { __index = Runtime }


-- Calls the runtime and sleeps until it has answered. opts.timeout: milliseconds.
-- Returns the answer (a string); or nil, err, status.
function Runtime.call(self, req, opts)
    if type(req) ~= "string" then
        local err
        req, err = to_request(req)
        if not req then
            return nil, err
        end
    end
    local timeout, err = to_timeout(opts)
    if not timeout then
        return nil, err
    end
    local owner
    owner, err = submit(self.number, req, timeout)
    if not owner then
        if not err then
            local _
            _, err = sleeper()
        end
        return nil, err
    end
    co_yield()
    return take(owner)
end


-- Hands the runtime a request whose answer nobody waits for. In any phase.
-- Returns true; or nil, err.
function Runtime.cast(self, req)
    local err
    req, err = to_request(req)
    if not req then
        return nil, err
    end
    if C.ngx_http_nffi_lua_cast(get_request(), self.number, req, #req, reply) ~= DONE then
        return failure(reply)
    end
    return true
end


-- Calls the runtime and iterates over the pieces of its answer:
--   for part, err, status in rt:stream(req) do … end
-- An error makes one round with part == false. Leaving the loop early cancels the task once the
-- iterator is collected, or the request ends.
function Runtime.stream(self, req, opts)
    local s, err, status = open(self.number, req, opts)
    local over = false
    return function()
        if over then
            return nil
        end
        local part
        if s then
            part, err, status = s:receive()
            if part then
                return part
            end
        end
        over = true
        if s then
            s:close()
        end
        if err == "closed" and status == nil then
            return nil
        end
        return false, err, status
    end
end


-- Opens a stream both ways: s:send(piece), s:shutdown("send"), s:receive(), s:close().
function Runtime.open(self, req, opts)
    return open(self.number, req, opts, true)
end


-- Ends the runtime for all who have loaded it: what was accepted is finished, new calls get
-- "unloaded". Returns true; or nil, err.
function Runtime.unload(self)
    if C.ngx_http_nffi_lua_unload(self.number, reply) ~= DONE then
        return failure(reply)
    end
    return true
end


-- The runtime that nffi_runtime declares under that name; or nil, "no such runtime".
function _M.get(name)
    if type(name) ~= "string" then
        return nil, "no such runtime"
    end
    local number = C.ngx_http_nffi_lua_find(name, #name, reply)
    if number < 0 then
        return failure(reply)
    end
    return setmetatable({ number = number, name = name }, runtime_mt)
end


-- A declared runtime keeps its number as long as the worker lives.
local declared = {}

-- Calls a declared runtime: see Runtime.call.
function _M.call(name, req, opts)
    local rt = declared[name]
    if not rt then
        local err
        rt, err = _M.get(name)
        if not rt then
            return nil, err
        end
        declared[name] = rt
    end
    return rt:call(req, opts)
end


-- Loads a library with a configuration (a string, "" if nil), or finds the runtime that was loaded
-- with both before; waits for its init where the caller can. opts: queue, tasks, timeout,
-- stop_timeout, max_request, max_response, spin, as in nffi_runtime; times in ms, sizes in bytes.
-- Returns the runtime; or nil, err.
function _M.load(library, config, opts)
    if type(library) ~= "string" then
        return nil, "bad library: string expected, got " .. type(library)
    end
    if library == "" then
        return nil, "bad library: its name is empty"
    end
    if config == nil then
        config = ""
    elseif type(config) ~= "string" then
        return nil, "bad configuration: string expected, got " .. type(config)
    end
    if opts and type(opts) ~= "table" then
        return nil, "bad options: table expected, got " .. type(opts)
    end
    local settings = settings_t(NAN, NAN, NAN, NAN, NAN, NAN, NAN)
    for option, value in pairs(opts or {}) do
        if option ~= "queue" and option ~= "tasks" and option ~= "timeout"
           and option ~= "stop_timeout" and option ~= "max_request"
           and option ~= "max_response" and option ~= "spin"
        then
            return nil, "bad option: \"" .. tostring(option) .. "\" is not known"
        end
        if type(value) ~= "number" or value ~= value then
            return nil, "bad option: \"" .. option .. "\" is no number"
        end
        settings[option] = value
    end
    local number = C.ngx_http_nffi_lua_load(library, #library, config, #config, settings, reply)
    if number < 0 then
        return failure(reply)
    end
    local rc = C.ngx_http_nffi_lua_ready(sleeper(), number, reply)
    if rc == YIELD then
        co_yield()
        rc = C.ngx_http_nffi_lua_ready(nil, number, reply)
    end
    if rc ~= DONE then
        return failure(reply)
    end
    return setmetatable({ number = number, library = library }, runtime_mt)
end


-- What goes on: an array with a table for each runtime of this worker.
function _M.runtimes()
    local list = {}
    local stats = stats_t()
    local number = 0
    while C.ngx_http_nffi_lua_stats(number, stats, reply) == DONE do
        number = number + 1
        list[number] = {
            name = ffi_str(stats.name, stats.name_len),
            library = ffi_str(stats.library, stats.library_len),
            state = STATES[stats.state],
            error = stats.state == 2 and ffi_str(stats.error, stats.error_len) or nil,
            declared = stats.declared == 1,
            queued = tonumber(stats.queued),
            in_flight = tonumber(stats.in_flight),
            abandoned = tonumber(stats.abandoned),
            calls = tonumber(stats.calls),
            casts = tonumber(stats.casts),
            answers = tonumber(stats.answers),
            errors = tonumber(stats.errors),
            timeouts = tonumber(stats.timeouts),
            cancelled = tonumber(stats.cancelled),
            rejected = tonumber(stats.rejected),
            bad_answers = tonumber(stats.bad_answers),
            dropped_logs = tonumber(stats.dropped_logs),
        }
    end
    return list
end


return _M
