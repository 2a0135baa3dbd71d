  ;; What every guest of the tests needs: memory, an allocator, and the functions of the
  ;; contract, lowered. A guest is this text, its own, and for each of $open, $process
  ;; and $finish that it does not define, the default below.
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (loop $grow
      (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.const 16))) (br $grow))))
    (local.get $at))
  ;; After each answer, what was allocated for the batch is free again.
  (func (export "cabi_post_pipehost:stage/stage@0.2.0#process") (param i32)
    (global.set $heap (i32.const 65536)))

  (data (i32.const 0) "guest0.1.0A guest of the tests{}out")
  ;; describe: name, version, summary, schema, each a pointer and a length.
  (data (i32.const 64) "\00\00\00\00\05\00\00\00\05\00\00\00\05\00\00\00\0a\00\00\00\14\00\00\00\1e\00\00\00\02\00\00\00")
  (func (export "pipehost:stage/stage@0.2.0#describe") (result i32) (i32.const 64))
  ;; The list of one port, `out`.
  (data (i32.const 96) "\20\00\00\00\03\00\00\00")
  ;; open: ok; reads the value; no attributes; one port; no inputs (zeros up to 144).
  (data (i32.const 112) "\00\00\00\00\00\00\01\00\00\00\00\00\00\00\00\00\60\00\00\00\01\00\00\00")
  ;; An outcome at 256: ok, one output at 320 (a record of 132 zeros: port 0, all rows),
  ;; no rejections.
  (data (i32.const 256) "\00\00\00\00\40\01\00\00\01\00\00\00")
  ;; An outcome at 288 that is empty.
  (data (i32.const 288) "\00\00\00\00")
  (func (export "pipehost:stage/stage@0.2.0#open") (param i32 i32) (result i32)
    (call $open (local.get 0) (local.get 1)))
  (func (export "pipehost:stage/stage@0.2.0#process") (param i32) (result i32)
    (call $process (local.get 0)))
  (func (export "pipehost:stage/stage@0.2.0#finish") (result i32) (call $finish))
