;; Never gives its state.
(func (export "pipehost:stage/checkpoint@0.2.0#save") (param i32 i32 i32) (result i32) (loop $forever (br $forever)) (i32.const 288))
(func (export "pipehost:stage/checkpoint@0.2.0#restore") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 288))
