;; Takes memory until there is no more.
(func $process (param i32) (result i32)
  (loop $more (drop (memory.grow (i32.const 16))) (br $more))
  (unreachable))
