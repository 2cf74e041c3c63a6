package gateway

import (
	"net/netip"
	"strconv"
	"testing"
	"time"
)

func TestBucketsAreBounded(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	l := newLimiter(func() time.Time { return now })
	for i := range 2 * shardCount * shardBuckets {
		if _, ok := l.spend(limitKey{name: strconv.Itoa(i)}, 1); !ok {
			t.Fatalf("the first request of key %d was refused", i)
		}
	}
	for i := range l.shards {
		if n := len(l.shards[i].buckets); n > shardBuckets {
			t.Fatalf("shard %d has %d buckets", i, n)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	l := newLimiter(time.Now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.spend(limitKey{by: byAddress, address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}, 1_000_000)
		}
	})
}
