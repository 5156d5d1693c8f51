-- The Lua side of scripts/bench languages: one echo behind each peer.
--
-- A peer is a function that makes one call. The unix peers take their connection from the keepalive
-- pool, as one does; the sequential loop keeps it in its hand.

local bench = require "nffi_bench"
local nffi = require "resty.nffi"

local PAYLOAD = ("x"):rep(16)
local POOL = 256

local _M = {}


-- One call to the runtime of that name, its answer.
_M.nffi = bench.nffi


local seed = {}

-- The same through the seed's API.
function _M.seed(library)
    local rt = seed[library]
    if not rt then
        require "resty_ffi"
        rt = assert(ngx.load_ffi(library, nil, { max_queue = 65536 }))
        seed[library] = rt
    end
    local ok, res, err = rt:echo(PAYLOAD)
    if not ok then
        ngx.log(ngx.ERR, res, " ", err)
        return ngx.exit(500)
    end
    ngx.say(res)
end


-- The same through a cosocket.
function _M.unix(path)
    ngx.say(bench.unix_call(path, PAYLOAD, POOL))
end


-- Are all runtimes there?
function _M.ready()
    for _, runtime in ipairs(nffi.runtimes()) do
        if runtime.state ~= "ready" then
            return ngx.say(runtime.name, " is ", runtime.state, " ", runtime.error or "")
        end
    end
    ngx.say("ready")
end


-- /sequential?peer=NAME&kind=nffi|seed|unix&at=NAME, library or path&seconds=S: microseconds a call.
function _M.sequential()
    local args = ngx.req.get_uri_args()
    local at = args.at
    local loop = bench.loop_of(args.kind, at)
    ngx.say(bench.measure(loop, PAYLOAD, tonumber(args.seconds)))
end


return _M
