// Package timed exports stages with state that receive watermarks. A program that imports it exports
// the interfaces checkpoint and watermark of the contract.
package timed

import (
	pipehost "github.com/pipehost/pipehost/plugin-sdk/go"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
	"github.com/pipehost/pipehost/plugin-sdk/go/stateful"
)

// A Stage is one that sees time pass.
type Stage interface {
	stateful.Stage
	pipehost.Timed
}

// Export is as pipehost.Export.
func Export[C any, S Stage](about pipehost.About, open func(C, *pipehost.Setup) (S, error)) {
	stateful.Export(about, open)
}

func init() {
	driver.HasWatermark = true
}
