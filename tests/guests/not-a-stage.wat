;; A component, but of no world that pipehost knows.
(component)
