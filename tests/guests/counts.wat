;; Answers one record: how many bytes the host has put into its memory for the batch, in
;; eight digits.
(data (i32.const 324) "\02\00\00\00\01\00\00\00")
(data (i32.const 392) "\01\00\00\00\00\02\00\00\01\00\00\00\10\02\00\00\08\00\00\00")
(data (i32.const 512) "\08\00\00\00")
(func $process (param i32) (result i32)
  (local $left i32) (local $digit i32)
  (local.set $left (i32.sub (global.get $heap) (i32.const 65536)))
  (local.set $digit (i32.const 8))
  (loop $digits
    (local.set $digit (i32.sub (local.get $digit) (i32.const 1)))
    (i32.store8 offset=528 (local.get $digit)
      (i32.add (i32.const 48) (i32.rem_u (local.get $left) (i32.const 10))))
    (local.set $left (i32.div_u (local.get $left) (i32.const 10)))
    (br_if $digits (local.get $digit)))
  (i32.const 256))
