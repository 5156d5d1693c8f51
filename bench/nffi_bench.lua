-- The Lua side of the benchmark: what each location of nginx-conf/bench.conf does.
--
-- A peer is a pair of functions: `open` prepares what a loop of calls may keep
-- between them, `call` makes one call. The unix peer keeps its connection for a
-- whole loop, and takes it from the keepalive pool once for each request under
-- concurrency: never does it pay for a connect.

local ffi = require "ffi"
local nffi = require "resty.nffi"
local semaphore = require "ngx.semaphore"

local byte, char, rep = string.byte, string.char, string.rep
local floor = math.floor
local timer_at, spawn = ngx.timer.at, ngx.thread.spawn

ffi.cdef [[
typedef struct { long sec; long nsec; } nffi_bench_timespec;
int clock_gettime(int clock, nffi_bench_timespec *ts);
]]

local CLOCK_MONOTONIC = 1
local PAYLOAD = rep("x", 16)          -- of the concurrent cases
local THREADS_PER_TIMER = 1000        -- ngx_lua searches a request's threads one by one
local HOUR = 3600

local _M = {}


local timespec = ffi.new("nffi_bench_timespec")

local function microseconds()
    ffi.C.clock_gettime(CLOCK_MONOTONIC, timespec)
    return tonumber(timespec.sec) * 1e6 + tonumber(timespec.nsec) / 1e3
end


local function header(len)
    return char(floor(len / 16777216) % 256, floor(len / 65536) % 256, floor(len / 256) % 256, len % 256)
end


-- One send and two receives.
local function socket_call(sock, head, payload)
    local ok, err = sock:send(head .. payload)
    if not ok then
        return nil, err
    end
    local answer_head
    answer_head, err = sock:receive(4)
    if not answer_head then
        return nil, err
    end
    local a, b, c, d = byte(answer_head, 1, 4)
    return sock:receive(((a * 256 + b) * 256 + c) * 256 + d)
end


local function socket_open(path)
    path = path or _M.socket_path
    local sock = ngx.socket.tcp()
    local ok, err = sock:connect(path)
    if not ok then
        error("cannot connect to " .. path .. ": " .. err)
    end
    return sock
end


-- Makes n calls and returns the microseconds they took, after checking every answer.
local loops = {}

local function nffi_loop(name)
    return function(n, payload)
        local call = nffi.call
        local from = microseconds()
        for _ = 1, n do
            local res, err = call(name, payload)
            if res ~= payload then
                error("wrong answer from runtime " .. name .. ": " .. (err or "other bytes"))
            end
        end
        return microseconds() - from
    end
end

local function seed_loop(library)
    return function(n, payload)
        require "resty_ffi"
        local rt = assert(ngx.load_ffi(library, nil, { max_queue = 65536 }))
        local from = microseconds()
        for _ = 1, n do
            local ok, res, err = rt:echo(payload)
            if not ok or res ~= payload then
                error("wrong answer from library " .. library .. ": " .. (err or "other bytes"))
            end
        end
        return microseconds() - from
    end
end

loops.nffi = nffi_loop("echo")
loops.nffi_spin = nffi_loop("echo_spin")

local function socket_loop(path)
    return function(n, payload)
        local sock = socket_open(path)
        local head = header(#payload)
        local from = microseconds()
        for _ = 1, n do
            local res, err = socket_call(sock, head, payload)
            if res ~= payload then
                error("wrong answer from the unix socket: " .. (err or "other bytes"))
            end
        end
        local took = microseconds() - from
        sock:setkeepalive(HOUR * 1000, _M.pool)
        return took
    end
end

loops.unix_socket = socket_loop()

-- A loop of calls to a runtime, to a library through the seed's API, or to a unix socket.
function _M.loop_of(kind, at)
    local make = { nffi = nffi_loop, seed = seed_loop, unix = socket_loop }
    return make[kind](at)
end


-- Microseconds a call. A short loop tells how many calls fill the time; only the long one counts.
function _M.measure(loop, payload, seconds)
    local each = loop(100, payload) / 100
    each = loop(floor(1e4 / each) + 20, payload) / (floor(1e4 / each) + 20)
    local n = floor(seconds * 1e6 / each) + 20
    return loop(n, payload) / n
end


-- /sequential?peer=P&size=BYTES&seconds=S: microseconds a call.
function _M.sequential()
    local args = ngx.req.get_uri_args()
    ngx.say(_M.measure(loops[args.peer], rep("x", tonumber(args.size)), tonumber(args.seconds)))
end


-- The locations that wrk calls.

local small_head = header(#PAYLOAD)

function _M.say()
    ngx.say(PAYLOAD)
end

function _M.nffi(name)
    local res, err = nffi.call(name or "echo", PAYLOAD)
    if not res then
        ngx.log(ngx.ERR, err)
        return ngx.exit(500)
    end
    ngx.say(res)
end

function _M.nffi_spin()
    _M.nffi("echo_spin")
end

-- One call over a connection of the pool.
function _M.unix_call(path, payload, pool)
    local sock = socket_open(path)
    local res, err = socket_call(sock, #payload == 16 and small_head or header(#payload), payload)
    if not res then
        ngx.log(ngx.ERR, err)
        return ngx.exit(500)
    end
    sock:setkeepalive(HOUR * 1000, pool)
    return res
end

function _M.unix_socket()
    ngx.say(_M.unix_call(nil, PAYLOAD, _M.pool))
end


-- /park?peer=nffi|semaphore&count=N: N coroutines go to sleep, a thousand of them in each of
-- N / 1000 timers. Answers at once; /parked tells how many calls have reached the runtime.

local FOR_EVER = { timeout = HOUR * 1000 }
local PARK = "park" .. rep(".", 12)

local parkers = {}

function parkers.nffi()
    local res, err = nffi.call("echo", PARK, FOR_EVER)
    if not res then
        ngx.log(ngx.ERR, "a parked call ended with: ", err)
    end
end

local asleep = 0

function parkers.semaphore()
    local sema = semaphore.new()
    asleep = asleep + 1
    sema:wait(HOUR)
    asleep = asleep - 1
end

local function park_some(_, park, count)
    for _ = 1, count do
        spawn(park)
    end
end

function _M.park()
    local args = ngx.req.get_uri_args()
    local left = tonumber(args.count)
    while left > 0 do
        local count = left < THREADS_PER_TIMER and left or THREADS_PER_TIMER
        local ok, err = timer_at(0, park_some, parkers[args.peer], count)
        if not ok then
            error("cannot start a timer: " .. err)
        end
        left = left - count
    end
    ngx.say("ok")
end

function _M.parked()
    if ngx.var.arg_peer == "semaphore" then
        ngx.say(asleep)
    else
        ngx.say(assert(nffi.call("echo", "parked?")))
    end
end

function _M.release()
    ngx.say(assert(nffi.call("echo", "release")))
end


-- Makes the memory of the worker comparable: no garbage is left.
function _M.collect()
    collectgarbage()
    collectgarbage()
    ngx.say(collectgarbage("count"))
end


return _M
