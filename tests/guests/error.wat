;; Returns an error: the message stands behind this discriminant.
(data (i32.const 512) "\01\00\00\00\00\02\00\00\07\00\00\00")
(data (i32.const 524) "no luck")
(func $process (param i32) (result i32)
  (i32.store (i32.const 516) (i32.const 524))
  (i32.const 512))
