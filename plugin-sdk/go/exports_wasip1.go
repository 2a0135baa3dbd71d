package pipehost

import (
	"errors"
	"unsafe"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/abi"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

// The functions of interface stage. What they return is valid until the next call.

var errNoStage = errors.New("the program exports no stage: call pipehost.Export in a function init")

//go:wasmexport pipehost:stage/stage@0.2.0#describe
func describe() unsafe.Pointer {
	abi.Enter()
	defer abi.Leave()
	if driver.Describe == nil {
		panic(errNoStage)
	}
	return abi.LowerDescription(driver.Describe())
}

//go:wasmexport pipehost:stage/stage@0.2.0#open
func open(config, size uint32) unsafe.Pointer {
	abi.Enter()
	defer abi.Leave()
	if driver.Open == nil {
		panic(errNoStage)
	}
	opened, err := driver.Open(abi.LiftBytes(config, size))
	if err != nil {
		return abi.LowerPlan(nil, err)
	}
	driver.Current = opened
	return abi.LowerPlan(opened.Plan(), nil)
}

//go:wasmexport pipehost:stage/stage@0.2.0#process
func process(batch unsafe.Pointer) unsafe.Pointer {
	abi.Enter()
	defer abi.Leave()
	return abi.LowerOutcome(driver.Current.Process(abi.LiftBatch(batch)), nil)
}

//go:wasmexport pipehost:stage/stage@0.2.0#finish
func finish() unsafe.Pointer {
	abi.Enter()
	defer abi.Leave()
	return abi.LowerOutcome(driver.Current.Finish())
}
