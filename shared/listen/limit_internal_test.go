package listen

import "testing"

func TestRoom(t *testing.T) {
	for limit, want := range map[uint64]int{0: mostOpen, 64: 16, 256: 64, 1024: 512, 4096: 3072, 1 << 20: mostOpen,
		1 << 63: mostOpen} {
		if got := room(limit); got != want {
			t.Errorf("of %d descriptors %d are for connections, want %d", limit, got, want)
		}
	}
}
