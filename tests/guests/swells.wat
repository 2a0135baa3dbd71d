;; Traps on more than one row; to one row, answers a value of 64 KiB.
(data (i32.const 324) "\02\00\00\00\01\00\00\00")
(data (i32.const 392) "\01\00\00\00\00\02\00\00\01\00\00\00\00\00\02\00\00\00\01\00")
(data (i32.const 512) "\00\00\01\00")
(func $process (param $batch i32) (result i32)
  (if (i32.gt_u (i32.load (local.get $batch)) (i32.const 1)) (then (unreachable)))
  (i32.const 256))
