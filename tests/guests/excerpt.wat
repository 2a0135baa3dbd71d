;; Answers the second and third byte of the value of one record as its value.
(data (i32.const 444) "\00\02\00\00\01\00\00\00")
;; To the value, from the value; starts at 600, ends at 604.
(data (i32.const 512) "\01\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\58\02\00\00\01\00\00\00\5c\02\00\00\01\00\00\00")
(data (i32.const 600) "\01\00\00\00\03\00\00\00")
