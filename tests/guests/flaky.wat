;; Rejects the first row of its first two batches, and says that it may try again.
(global $calls (mut i32) (i32.const 0))
;; An outcome at 640: ok; one output at 672 that picks nothing; one rejection at 512.
(data (i32.const 640) "\00\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\01\00\00\00")
(data (i32.const 512) "\00\00\00\00\20\02\00\00\08\00\00\00\01")
(data (i32.const 544) "not yet.")
(func $process (param i32) (result i32)
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (if (result i32) (i32.le_u (global.get $calls) (i32.const 2))
    (then (i32.const 640))
    (else (i32.const 256))))
