package analytics

import (
	"fmt"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

// BenchmarkFold measures what the fold itself can do, from the bytes of paid orders to the disk.
func BenchmarkFold(b *testing.B) {
	s, err := bare(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var group []message
	seq, last := uint64(0), uint64(0)
	var r reader
	for b.Loop() {
		f := paid(int(seq))
		seq++
		c, err := r.read(f.subject, f.data, testStart)
		if err != nil {
			b.Fatal(err)
		}
		if group = append(group, message{seq: seq, change: c}); len(group) == groupLimit {
			if err := s.commit(toEvents, last, group); err != nil {
				b.Fatal(err)
			}
			group, last = nil, seq
		}
	}
}

// sales are so many tickets, sold over a hundred thousand minutes.
type sales int

func (n sales) fold(f *fold) error {
	for i := range int(n) {
		f.count(testEvent, byEvent, "", minuteOf(testStart)+int64(i%100_000), nSold, 1)
	}
	return nil
}

// BenchmarkSummary shows that a summary costs the same however many facts there are.
func BenchmarkSummary(b *testing.B) {
	for _, facts := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(facts), func(b *testing.B) {
			s, err := bare(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			group := []message{{seq: 1, change: (&description{*testOffer("UTC")})}, {seq: 2, change: sales(facts)}}
			if err := s.commit(toEvents, 0, group); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if sum, err := s.summary(admin(), &api.EventRef{ID: testEvent}); err != nil ||
					sum.TicketsSold != int64(facts) {
					b.Fatal(sum, err)
				}
			}
		})
	}
}
