;; Says that it keeps by the value, and saves what it keeps in the key group 0, whatever the value.
(data (i32.const 144) "\02\00\00\00\01")
(data (i32.const 600) "\00\00\00\00\6c\02\00\00\01\00\00\00")
(func (export "pipehost:stage/checkpoint@0.2.0#save") (param i32 i32 i32) (result i32) (i32.const 600))
(func (export "pipehost:stage/checkpoint@0.2.0#restore") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 288))
