;; Answers two fresh rows whose value has ends that descend: 3, 1.
(data (i32.const 324) "\02\00\00\00\02\00\00\00")
(data (i32.const 392) "\01\00\00\00\00\02\00\00\02\00\00\00\10\02\00\00\01\00\00\00")
(data (i32.const 512) "\03\00\00\00\01\00\00\00")
