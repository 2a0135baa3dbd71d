;; Wants something that pipehost does not have.
(component (import "acme:kv/store@1.0.0" (instance)))
