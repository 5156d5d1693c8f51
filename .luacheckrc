std = "ngx_lua"
max_line_length = 120
-- ngx_lua's own name for the yield that its coroutine wrappers do not catch.
read_globals = { coroutine = { fields = { "_yield" } } }
