;; Takes 16 MiB, then sends every record on.
(func $process (param i32) (result i32)
  (drop (memory.grow (i32.const 256)))
  (i32.const 256))
