-- luacheck: globals wrk
-- wrk: a body of 1 MiB with every request.
wrk.method = "POST"
wrk.body = ("x"):rep(1048576)
wrk.headers["Content-Type"] = "application/octet-stream"
