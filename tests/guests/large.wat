;; Answers one fresh row with a value of 64 KiB.
(data (i32.const 324) "\02\00\00\00\01\00\00\00")
(data (i32.const 392) "\01\00\00\00\00\02\00\00\01\00\00\00\00\00\02\00\00\00\01\00")
(data (i32.const 512) "\00\00\01\00")
