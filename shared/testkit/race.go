//go:build race

package testkit

// slower is by how much the race detector makes things slower, so that waits are longer by as much.
const slower = 4
