;; Never gets past its start function.
(func $spin (loop $forever (br $forever)))
(start $spin)
