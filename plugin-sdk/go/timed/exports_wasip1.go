package timed

import (
	"unsafe"

	"github.com/pipehost/pipehost/plugin-sdk/go/internal/abi"
	"github.com/pipehost/pipehost/plugin-sdk/go/internal/driver"
)

//go:wasmexport pipehost:stage/watermark@0.2.0#advance
func advance(watermark int64) unsafe.Pointer {
	abi.Enter()
	defer abi.Leave()
	return abi.LowerOutcome(driver.Current.Advance(watermark))
}
