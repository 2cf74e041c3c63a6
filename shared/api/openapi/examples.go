package openapi

import (
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Example is a call that a system with the demo accepts, after those before it.
type Example struct {
	Endpoint rpc.Descriptor
	Request  any
}

// Examples returns the examples.
func Examples() []Example { return nil }
