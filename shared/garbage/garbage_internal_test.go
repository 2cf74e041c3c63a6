package garbage

import "testing"

// A crowd is seen within a second, and that it has gone, half a minute after its last garbage was collected. At the pace
// of work there are a third of the collections: one a second is no reason to go back.
func TestPaceOfTheCollector(t *testing.T) {
	p := pace{percent: atRest}
	for i, second := range []struct {
		collections uint64
		percent     int
		changed     bool
	}{
		{0, atRest, false}, {1, atRest, false}, {2, atWork, true}, {1, atWork, false},
		{0, atWork, false}, {1, atWork, false},
	} {
		percent, changed := p.next(second.collections)
		if percent != second.percent || changed != second.changed {
			t.Errorf("second %d: %d, changed %t, want %d, %t", i, percent, changed, second.percent, second.changed)
		}
	}
	for i := range restAfter {
		if percent, changed := p.next(0); changed != (i == restAfter-1) || changed != (percent == atRest) {
			t.Errorf("%d seconds after the last: %d, changed %t", i+1, percent, changed)
		}
	}
	if percent, changed := p.next(9); percent != atWork || !changed {
		t.Errorf("with the next crowd: %d, changed %t", percent, changed)
	}
}
