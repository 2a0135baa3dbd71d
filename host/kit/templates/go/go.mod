// A name of its own: `my-stage` alone could be that of a package of Go.
module stages.local/my-stage

go 1.24

// Held in vendor/ by `pipehost new`, so that nothing is fetched.
require github.com/pipehost/pipehost/plugin-sdk/go v0.1.0
