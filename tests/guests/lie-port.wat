;; Sends rows to a port that it does not have.
(data (i32.const 320) "\09\00\00\00")
