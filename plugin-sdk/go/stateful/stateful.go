// Package stateful exports stages whose state outlives their instance. A program that imports it
// exports the interface checkpoint of the contract.
package stateful

import (
	pipehost "github.com/pipehost/pipehost/plugin-sdk/go"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// A Stage is one that the host saves and restores.
type Stage interface {
	pipehost.Stage
	pipehost.Saver
}

// Export is as pipehost.Export.
func Export[C any, S Stage](about pipehost.About, open func(C, *pipehost.Setup) (S, error)) {
	pipehost.Export(about, open)
}

func init() {
	driver.HasCheckpoint = true
}
