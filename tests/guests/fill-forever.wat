;; Fills memory for ever: few instructions, much time.
(func $process (param i32) (result i32)
  (loop $forever
    (memory.fill (i32.const 131072) (i32.const 1) (i32.const 131072))
    (br $forever))
  (unreachable))
