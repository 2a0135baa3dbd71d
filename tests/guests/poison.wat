;; Traps on a batch in which a value begins with `P`, never comes back from one with an `L`;
;; sends other batches on.
(func $process (param $batch i32) (result i32)
  (local $row i32) (local $start i32) (local $end i32) (local $first i32)
  (block $done
    (loop $rows
      (br_if $done (i32.ge_u (local.get $row) (i32.load (local.get $batch))))
      ;; The ends of the value at 48, its data at 56.
      (local.set $end (i32.load
        (i32.add (i32.load offset=52 (local.get $batch)) (i32.shl (local.get $row) (i32.const 2)))))
      (if (i32.lt_u (local.get $start) (local.get $end))
        (then
          (local.set $first
            (i32.load8_u (i32.add (i32.load offset=60 (local.get $batch)) (local.get $start))))
          (if (i32.eq (local.get $first) (i32.const 80)) (then (unreachable)))
          (if (i32.eq (local.get $first) (i32.const 76)) (then (loop $for-ever (br $for-ever))))))
      (local.set $start (local.get $end))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br $rows)))
  (i32.const 256))
