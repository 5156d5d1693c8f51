-- The C functions of ngx_http_nffi_module that resty.nffi is made of (src/lua.rs and below), and
-- the reply structures that they fill in. A VM declares them once.

local ffi = require "ffi"
local base = require "resty.core.base"

-- Made known by the module before any Lua runs.
local can_yield = package.preload["resty.nffi.can_yield"]
if not can_yield then
    -- Else the next require would say no more than "previous error loading module".
    package.loaded["resty.nffi"] = nil
    package.loaded["resty.nffi.ffi"] = nil
    error("ngx_http_nffi_module is not loaded: add \"load_module modules/ngx_http_nffi_module.so;\""
          .. " to nginx.conf", 0)
end

-- Whoever clears package.loaded gets new modules in the same VM, which knows these types already.
if not pcall(ffi.typeof, "ngx_http_nffi_lua_reply_t") then
ffi.cdef [[
typedef struct {
    const char  *data;
    double       len;
    int          status;
    int          own;
} ngx_http_nffi_lua_reply_t;

typedef struct {
    double       queue, tasks, timeout, stop_timeout, max_request, max_response, spin;
} ngx_http_nffi_lua_settings_t;

typedef struct {
    const char  *name;
    size_t       name_len;
    const char  *library;
    size_t       library_len;
    const char  *error;
    size_t       error_len;
    int          state;
    int          declared;
    double       queued, in_flight, abandoned, calls, casts, answers, errors, timeouts, cancelled,
                 rejected, bad_answers, dropped_logs;
} ngx_http_nffi_lua_stats_t;

typedef struct {
    uint32_t     number;
    uint32_t     serial;
} ngx_http_nffi_lua_stream_t;

int ngx_http_nffi_lua_find(const char *name, size_t len, ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_load(const char *name, size_t name_len, const char *config, size_t config_len,
    const ngx_http_nffi_lua_settings_t *settings, ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_ready(void *r, uint32_t runtime, ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_unload(uint32_t runtime, ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_stats(uint32_t runtime, ngx_http_nffi_lua_stats_t *stats,
    ngx_http_nffi_lua_reply_t *reply);

int ngx_http_nffi_lua_cast(void *r, uint32_t runtime, const char *data, size_t len,
    ngx_http_nffi_lua_reply_t *reply);

int ngx_http_nffi_lua_open(void *r, uint32_t runtime, const char *data, size_t len, int more,
    ngx_http_nffi_lua_stream_t *stream, ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_send(const ngx_http_nffi_lua_stream_t *stream, const char *data, size_t len,
    ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_shutdown(const ngx_http_nffi_lua_stream_t *stream,
    ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_receive(const ngx_http_nffi_lua_stream_t *stream,
    ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_wait(void *r, const ngx_http_nffi_lua_stream_t *stream, int side,
    double timeout, ngx_http_nffi_lua_reply_t *reply);
int ngx_http_nffi_lua_resumed(const ngx_http_nffi_lua_stream_t *stream, int side,
    ngx_http_nffi_lua_reply_t *reply);
void ngx_http_nffi_lua_close(ngx_http_nffi_lua_stream_t *stream);
]]
end

-- Looked up now: a look-up waits for the dynamic linker while a runtime's library is being loaded.
for _, name in ipairs {
    "find", "load", "ready", "unload", "stats", "cast",
    "open", "send", "shutdown", "receive", "wait", "resumed", "close",
} do
    local _ = ffi.C["ngx_http_nffi_lua_" .. name]
end

local ffi_str = ffi.string
local get_phase = ngx.get_phase
local get_request = base.get_request
local type = type

-- Phases that ngx_lua lets a coroutine yield in, as ngx.get_phase names them.
local YIELDABLE = {
    server_rewrite = true, rewrite = true, access = true, precontent = true, content = true,
    timer = true, ssl_client_hello = true, ssl_cert = true, ssl_session_fetch = true,
    proxy_ssl_cert = true, proxy_ssl_verify = true,
}

local _M = {
    FAILED = -1,
    DONE = 0,
    YIELD = 1,
    C = ffi.C,
    submit = package.preload["resty.nffi.submit"],
    take = package.preload["resty.nffi.take"],
    -- For what brings bytes of a runtime, and for all else. Two, because reading a field may run the
    -- collector, and with it a finalizer of the user's that casts (or does anything that needs no
    -- sleep): an answer must not be changed by it.
    answer = ffi.new("ngx_http_nffi_lua_reply_t"),
    reply = ffi.new("ngx_http_nffi_lua_reply_t"),
}

-- What nginx's timers and ngx_lua hold, in ms.
local MAX_TIMEOUT = 2147483647


-- What a reply says of a failure: nil, message, status. The status is the runtime's; it is nil
-- where the message is nffi's own.
function _M.failure(reply)
    -- Numbers first: reading data makes an object, which may run the collector, and that a finalizer
    -- that leaves a reply of its own.
    local own, status, len = reply.own, reply.status, reply.len
    local message = ffi_str(reply.data, len)
    if own == 1 then
        return nil, message
    end
    return nil, message, status
end


-- The running request, where its coroutine can sleep; else nil and why not.
function _M.sleeper()
    if can_yield() then
        local r = get_request()
        if r then
            return r
        end
    end
    local phase = get_phase()
    if not YIELDABLE[phase] then
        return nil, "API disabled in the context of " .. phase .. "_by_lua*"
    end
    return nil, "API disabled here: no yield across a C call boundary"
end


-- A request: a string, or a number as Lua would print it.
function _M.to_request(req)
    if type(req) == "string" then
        return req
    end
    if type(req) == "number" then
        return req .. ""
    end
    return nil, "bad request: string expected, got " .. type(req)
end


-- Milliseconds for C: 0 is the runtime's own timeout.
function _M.to_timeout(opts)
    if not opts then
        return 0
    end
    if type(opts) ~= "table" then
        return nil, "bad options: table expected, got " .. type(opts)
    end
    local timeout = opts.timeout
    if timeout == nil then
        return 0
    end
    -- Also refuses NaN.
    if type(timeout) ~= "number" or not (timeout > 0 and timeout <= MAX_TIMEOUT) then
        return nil, "bad timeout"
    end
    return timeout
end


return _M
