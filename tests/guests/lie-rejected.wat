;; Rejects row 7 of a smaller batch.
(data (i32.const 268) "\00\02\00\00\01\00\00\00")
(data (i32.const 512) "\07\00\00\00")
