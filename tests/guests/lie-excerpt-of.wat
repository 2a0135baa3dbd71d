;; Answers a value that is taken from the key, which it does not read.
(data (i32.const 444) "\00\02\00\00\01\00\00\00")
(data (i32.const 512) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\58\02\00\00\01\00\00\00\58\02\00\00\01\00\00\00")
