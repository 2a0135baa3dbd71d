;; Counts to a million for each record, then sends every one on.
(func $process (param i32) (result i32)
  (local $i i32) (local $n i32)
  (local.set $n (i32.mul (i32.load (local.get 0)) (i32.const 1000000)))
  (loop $more
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (local.get $n))))
  (i32.const 256))
