;; Answers one fresh row that ends at 1, with two bytes of data.
(data (i32.const 324) "\02\00\00\00\01\00\00\00")
(data (i32.const 392) "\01\00\00\00\00\02\00\00\01\00\00\00\10\02\00\00\02\00\00\00")
(data (i32.const 512) "\01\00\00\00")
