-- The interface of lua-resty-ffi, for code and libraries that were written for it:
--
--   require "resty_ffi"
--   local rt, rc = ngx.load_ffi("demo", "configuration", { max_queue = 1024 })
--   local ok, res_or_rc, err = rt:any_name("request")
--   rt:__unload()
--
-- docs/coming-from-lua-resty-ffi.md says what is the same, and what is not. New code has more from
-- resty.nffi.

local ffi = require "ffi"
local native = require "resty.nffi.ffi"

if not pcall(ffi.typeof, "ngx_http_nffi_seed_options_t") then
ffi.cdef [[
typedef struct {
    double       max_queue, timeout;
    int          is_global, unpin, nonblocking;
} ngx_http_nffi_seed_options_t;

int ngx_http_nffi_seed_load(const char *name, size_t name_len, const char *config, size_t config_len,
    const ngx_http_nffi_seed_options_t *options, ngx_http_nffi_lua_reply_t *reply);
]]
end

local C = native.C
local co_yield = coroutine._yield
local failure = native.failure
local options_t = ffi.typeof("ngx_http_nffi_seed_options_t")
local pairs = pairs
local rawset = rawset
local reply = native.reply
local setmetatable = setmetatable
local sleeper = native.sleeper
local submit = native.submit
local take = package.preload["resty.nffi.seed_take"]
local to_request = native.to_request
local tostring = tostring
local type = type

local NAN = 0 / 0
local OPTIONS = { max_queue = "number", is_global = "boolean", unpin = "boolean", timeout = "number" }

-- Looked up now: see resty.nffi.ffi.
local _ = C.ngx_http_nffi_seed_load

local _M = { _VERSION = "0.1.0" }

-- By library, then by configuration: what this VM has loaded.
local loaded = {}


-- A runtime whose methods are all the same call. What it needs to know is in closures, so that
-- every name is free.
local function new(number, forget)
    local unloaded = false

    local function call(_, req)
        if type(req) ~= "string" and req ~= nil then
            local err
            req, err = to_request(req)
            if not req then
                return false, err
            end
        end
        local owner, err = submit(number, req, 0)
        if not owner then
            if not err then
                local _
                _, err = sleeper()
            end
            return false, err
        end
        co_yield()
        return take(owner)
    end

    local function unload()
        if unloaded then
            return false, "unloaded"
        end
        unloaded = true
        forget()
        if C.ngx_http_nffi_lua_unload(number, reply) ~= native.DONE then
            local _, err = failure(reply)
            return false, err
        end
        return true
    end

    return setmetatable({ __unload = unload }, {
        __index = function(self, name)
            rawset(self, name, call)
            return call
        end,
        __call = call,
    })
end


local function load(library, config, options)
    if type(library) ~= "string" then
        return nil, "bad library: string expected, got " .. type(library)
    end
    if library == "" then
        return nil, "bad library: its name is empty"
    end
    if config ~= nil and type(config) ~= "string" then
        return nil, "bad configuration: string expected, got " .. type(config)
    end
    local generation = options.nonblocking
    local key = generation .. library
    local of_library = loaded[key]
    if not of_library then
        of_library = {}
        loaded[key] = of_library
    end
    -- No configuration is another one than an empty one.
    local config_key = config and "=" .. config or ""
    local rt = of_library[config_key]
    if rt then
        return rt
    end
    local number = C.ngx_http_nffi_seed_load(library, #library, config, config and #config or 0, options, reply)
    if number < 0 then
        local _, err, rc = failure(reply)
        return nil, rc or err
    end
    rt = new(number, function() of_library[config_key] = nil end)
    of_library[config_key] = rt
    return rt
end


-- Loads a library that exports libffi_init, with a configuration (a string, or nil), or returns the
-- runtime that was loaded with both before. opts: max_queue, is_global, unpin; and timeout, in ms.
-- Returns the runtime; or nil, and what libffi_init returned (a number) or why it was not called.
function _M.load_ffi(library, config, opts)
    local options = options_t(NAN, NAN, 0, 0, 0)
    if opts ~= nil then
        if type(opts) ~= "table" then
            return nil, "bad options: table expected, got " .. type(opts)
        end
        for name, value in pairs(opts) do
            local wanted = OPTIONS[name]
            if not wanted then
                return nil, "bad option: \"" .. tostring(name) .. "\" is not known"
            end
            if type(value) ~= wanted or value ~= value then -- NaN, too
                return nil, "bad option: \"" .. name .. "\" is no " .. wanted
            end
            if wanted == "boolean" then
                value = value and 1 or 0
            end
            options[name] = value
        end
    end
    return load(library, config, options)
end


-- The same for the older libraries, which export lib_nonblocking_ffi_init.
function _M.load_nonblocking_ffi(library, config, max_queue, is_global)
    if max_queue ~= nil and type(max_queue) ~= "number" then
        return nil, "bad option: \"max_queue\" is no number"
    end
    return load(library, config or "", options_t(max_queue or NAN, NAN, is_global and 1 or 0, 0, 1))
end


-- luacheck: globals ngx.load_ffi ngx.load_nonblocking_ffi
ngx.load_ffi = _M.load_ffi
ngx.load_nonblocking_ffi = _M.load_nonblocking_ffi

return _M
