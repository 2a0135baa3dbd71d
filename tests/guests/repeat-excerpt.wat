;; Answers a thousand fresh rows, the value of each the first 1,000 bytes that it was given.
(data (i32.const 324) "\02\00\00\00\e8\03\00\00")
(data (i32.const 444) "\00\02\00\00\01\00\00\00")
;; Starts at 4096, all 0; ends at 8192.
(data (i32.const 512) "\01\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\00\10\00\00\e8\03\00\00\00\20\00\00\e8\03\00\00")
(func $process (param i32) (result i32)
  (local $at i32)
  (loop $ends
    (i32.store offset=8192 (local.get $at) (i32.const 1000))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (br_if $ends (i32.lt_u (local.get $at) (i32.const 4000))))
  (i32.const 256))
