std = "ngx_lua"
max_line_length = 120
read_globals = {
    -- ngx_lua's own name for the yield that its coroutine wrappers do not catch.
    coroutine = { fields = { "_yield" } },
    -- What require "resty_ffi" adds.
    ngx = { fields = { "load_ffi", "load_nonblocking_ffi" } },
}
