package stateful

import (
	"bytes"
	"unsafe"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/abi"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

//go:wasmexport pipehost:stage/checkpoint@0.2.0#save
func save(first, end, count uint32) unsafe.Pointer {
	abi.Enter()
	defer abi.Leave()
	states, err := driver.Current.Save(first, end, count)
	abi.Collect()
	return abi.LowerGroups(states, err)
}

//go:wasmexport pipehost:stage/checkpoint@0.2.0#restore
func restore(saved, groups, version, versionSize, config, configSize uint32) unsafe.Pointer {
	abi.Enter()
	defer abi.Leave()
	by, then := string(abi.LiftBytes(version, versionSize)), bytes.Clone(abi.LiftBytes(config, configSize))
	return abi.LowerError(driver.Current.Restore(abi.LiftGroups(saved, groups), by, then))
}
