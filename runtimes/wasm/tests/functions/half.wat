;; JSON that ends too soon.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; one buffer: where it is, and how long
  (data (i32.const 0) "\10\00\00\00\19\00\00\00")
  (data (i32.const 16) "{\22status\22:200,\22body\22:\22hel")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
