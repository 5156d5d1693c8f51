;; Answers where the request has a question mark in it, else it runs for ever.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\02\00\00\00")
  (data (i32.const 16) "{}")
  (func (export "_start") (local $at i32)
    (i32.store (i32.const 24) (i32.const 4096))
    (i32.store (i32.const 28) (i32.const 65536))
    (drop (call $fd_read (i32.const 0) (i32.const 24) (i32.const 1) (i32.const 8)))
    (local.set $at (i32.const 4096))
    (loop $look
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 63)) (then
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (return)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $look (i32.lt_u (local.get $at) (i32.const 65536))))
    (loop $again (br $again))))
