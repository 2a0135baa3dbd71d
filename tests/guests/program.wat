;; A program with a `main`, as compilers make it unless they are told to make a library.
(module
  (memory (export "memory") 1)
  (func (export "_start")))
