package user

import "github.com/starlightsymphony/starlight/shared/opaque"

// AddressKey returns the key under which the failures of a client's address are counted.
func AddressKey(client string) string { return opaque.Hash("address " + network(client)) }
