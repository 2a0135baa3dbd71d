;; Takes four pages more at each call, as a runtime does that leaks. It keeps nothing.
(data (i32.const 144) "\01")
(func $process (param i32) (result i32)
  (drop (memory.grow (i32.const 4)))
  (i32.const 256))
