;; Drops every record, and traps when it is asked to finish.
(func $process (param i32) (result i32) (i32.const 288))
(func $finish (result i32) (unreachable))
