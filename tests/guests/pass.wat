;; Sends every record on.
