package user

// AddressKey returns the key under which the failures of a client's address are counted.
func AddressKey(client string) string { return hashText("address " + network(client)) }

// HashAt returns the hash of a password at another cost.
func HashAt(memory, time uint32, password string) string {
	c := cost{memory: memory, time: time, threads: 1}
	const salt = "sixteen bytes it"
	return encodeHash(c, salt, c.key(normalPassword(password), salt))
}
