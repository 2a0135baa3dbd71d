;; Saves the state of a key group that it does not hold.
(data (i32.const 640) "\00\00\00\00\90\02\00\00\01\00\00\00")
(data (i32.const 656) "\07\00\00\00\a0\02\00\00\01\00\00\00x")
(func (export "pipehost:stage/checkpoint@0.2.0#save") (param i32 i32 i32) (result i32) (i32.const 640))
(func (export "pipehost:stage/checkpoint@0.2.0#restore") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 288))
