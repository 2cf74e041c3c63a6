package user

// AddressKey returns the key under which the failures of a client's address are counted.
func AddressKey(client string) string { return hashText("address " + network(client)) }
