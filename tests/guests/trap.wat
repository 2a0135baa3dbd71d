;; Traps.
(func $process (param i32) (result i32) (unreachable))
