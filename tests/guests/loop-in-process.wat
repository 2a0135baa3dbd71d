;; Never returns from process.
(func $process (param i32) (result i32) (loop $forever (br $forever)) (unreachable))
