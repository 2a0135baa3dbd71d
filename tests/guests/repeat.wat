;; Picks the first row a thousand times.
(data (i32.const 324) "\01\00\00\00\00\10\00\00\e8\03\00\00")
