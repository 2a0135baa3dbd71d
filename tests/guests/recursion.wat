;; Overflows its stack.
(func $deeper (param i64) (result i64) (i64.add (call $deeper (local.get 0)) (i64.const 1)))
(func $process (param i32) (result i32) (drop (call $deeper (i64.const 0))) (i32.const 256))
