-- Streams: an answer piece by piece, and a request too. A stream belongs to the request that
-- opened it, and is closed at its end, when it is collected, or by close(): a task that has not
-- ended by then is cancelled.

local ffi = require "ffi"
local native = require "resty.nffi.ffi"

local C = native.C
local DONE, YIELD = native.DONE, native.YIELD
local answer = native.answer
local co_yield = coroutine._yield
local failure = native.failure
local ffi_gc = ffi.gc
local ffi_str = ffi.string
local reply = native.reply
local setmetatable = setmetatable
local sleeper = native.sleeper
local stream_t = ffi.typeof("ngx_http_nffi_lua_stream_t")
local to_request = native.to_request
local to_timeout = native.to_timeout

local RECEIVE, SEND = 0, 1

local _M = {}
local mt = { __index = _M }


-- Opens a stream on a runtime. With `more` pieces of the request follow `req`.
function _M.open(number, req, opts, more)
    local err
    req, err = to_request(req)
    if not req then
        return nil, err
    end
    local timeout
    timeout, err = to_timeout(opts)
    if not timeout then
        return nil, err
    end
    local r
    r, err = sleeper()
    if not r then
        return nil, err
    end
    local handle = ffi_gc(stream_t(), C.ngx_http_nffi_lua_close)
    if C.ngx_http_nffi_lua_open(r, number, req, #req, more and 1 or 0, handle, reply) ~= DONE then
        return failure(reply)
    end
    return setmetatable({ handle = handle, timeout = timeout }, mt)
end


-- Sleeps until the side has news: true, or nil and an error.
local function wait(self, side, timeout)
    local r, err = sleeper()
    if not r then
        return nil, err
    end
    if C.ngx_http_nffi_lua_wait(r, self.handle, side, timeout, reply) ~= YIELD then
        return failure(reply)
    end
    co_yield()
    if C.ngx_http_nffi_lua_resumed(self.handle, side, reply) ~= DONE then
        return failure(reply)
    end
    return true
end


-- The next piece of the answer; nil, "closed" after the last one; or nil, err, status. After
-- "timeout" the stream is as it was: receive again, or close.
function _M.receive(self, opts)
    local timeout, err = to_timeout(opts)
    if not timeout then
        return nil, err
    end
    if timeout == 0 then
        timeout = self.timeout
    end
    while true do
        local rc = C.ngx_http_nffi_lua_receive(self.handle, answer)
        if rc == DONE then
            local len = answer.len   -- before data: see failure
            return ffi_str(answer.data, len)
        end
        if rc ~= YIELD then
            return failure(answer)
        end
        local ok
        ok, err = wait(self, RECEIVE, timeout)
        if not ok then
            return nil, err
        end
    end
end


-- Sends a piece of the request: true once there is room for the next, or nil, err. After
-- "timeout" the piece is on its way all the same.
function _M.send(self, piece, opts)
    local timeout, err
    piece, err = to_request(piece)
    if not piece then
        return nil, err
    end
    timeout, err = to_timeout(opts)
    if not timeout then
        return nil, err
    end
    local rc = C.ngx_http_nffi_lua_send(self.handle, piece, #piece, reply)
    if rc == DONE then
        return true
    end
    if rc ~= YIELD then
        return failure(reply)
    end
    return wait(self, SEND, timeout == 0 and self.timeout or timeout)
end


-- Ends the request ("send" is the only direction there is, as with a cosocket): the runtime reads
-- its end. The answer can still be received.
function _M.shutdown(self, direction)
    if direction ~= "send" then
        return nil, "bad direction: \"send\" expected"
    end
    if C.ngx_http_nffi_lua_shutdown(self.handle, reply) ~= DONE then
        return failure(reply)
    end
    return true
end


-- Closes both ways. A task that has not ended is cancelled. May be called twice.
function _M.close(self)
    C.ngx_http_nffi_lua_close(self.handle)
    return true
end


return _M
