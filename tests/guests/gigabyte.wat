;; Picks a gigabyte of rows, which it does not have.
(data (i32.const 324) "\01\00\00\00\00\00\00\00\00\00\00\10")
