module github.com/pipehost/pipehost/plugin-sdk/go

go 1.24
