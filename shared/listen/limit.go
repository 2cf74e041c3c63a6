package listen

const (
	spared   = 512     // descriptors for databases, stores and NATS
	mostOpen = 100_000 // connections, however many descriptors there are
	fewest   = 16
)

// Room returns how many connections a process may take and still have descriptors for its databases, stores and NATS.
func Room() int { return room(descriptors()) }

// room keeps a quarter of the limit for the rest of the process, and at least 512 as long as that leaves anything.
func room(limit uint64) int {
	if limit == 0 || limit > 2*mostOpen {
		return mostOpen
	}
	n := int(limit)
	return max(min(n-max(n/4, spared), mostOpen), n/4, fewest)
}
