;; Answers one fresh row whose value is inherited, from nothing.
(data (i32.const 324) "\02\00\00\00\01\00\00\00")
(data (i32.const 392) "\01\00\00\00\00\02\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\01\00\00\00")
