module my-stage

go 1.24

// Held in vendor/ by `pipehost new`, so that nothing is fetched.
require github.com/pipehost/pipehost/plugin-sdk/go v0.1.0
