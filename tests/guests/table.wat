;; Takes a table of 10,000 elements, 8 bytes each on the host, for each call.
(table $table 0 funcref)
(func $process (param i32) (result i32)
  (drop (table.grow $table (ref.null func) (i32.const 10000)))
  (i32.const 256))
