module conformance

go 1.24

require github.com/pipehost/pipehost/plugin-sdk/go v0.1.0

replace github.com/pipehost/pipehost/plugin-sdk/go => ../
