;; Answers a thousand rows as repeat-excerpt.wat does, and rejects the last record, which may
;; succeed the next time.
(data (i32.const 268) "\80\02\00\00\01\00\00\00")
(data (i32.const 652) "\01")
(data (i32.const 324) "\02\00\00\00\e8\03\00\00")
(data (i32.const 444) "\00\02\00\00\01\00\00\00")
;; Starts at 4096, all 0; ends at 8192.
(data (i32.const 512) "\01\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\00\10\00\00\e8\03\00\00\00\20\00\00\e8\03\00\00")
(func $process (param $batch i32) (result i32)
  (local $at i32)
  (loop $ends
    (i32.store offset=8192 (local.get $at) (i32.const 1000))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (br_if $ends (i32.lt_u (local.get $at) (i32.const 4000))))
  (i32.store (i32.const 640) (i32.sub (i32.load (local.get $batch)) (i32.const 1)))
  (i32.const 256))
