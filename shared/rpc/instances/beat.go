package instances

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// BeatSubject is where processes say who their members are. Only the role of processes may.
const BeatSubject = "mesh.beat"

// Run says every second who the members of a process are, hears the others and judges them, until ctx ends. Then it
// says goodbye: end it before the members stop serving. Of own it takes version and zone.
func (s *Set) Run(ctx context.Context, nc *nats.Conn, own Beat, members func() []Member) {
	own.Process = nuid.Next()
	sub, err := nc.Subscribe(BeatSubject, func(m *nats.Msg) {
		var b Beat
		if json.Unmarshal(m.Data, &b) == nil && b.Process != "" {
			s.Hear(b)
		}
	})
	if err != nil {
		s.cfg.Log.Error("nothing is known of single instances", "error", err)
		return
	}
	defer sub.Unsubscribe()
	publish := func() {
		data, err := json.Marshal(own)
		if err == nil {
			err = nc.Publish(BeatSubject, data)
		}
		if err != nil {
			s.cfg.Log.Warn("others are not told who serves here", "error", err)
		}
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if own.Members = members(); len(own.Members) > 0 {
			publish()
		}
		select {
		case <-tick.C:
			s.Look()
		case <-ctx.Done():
			own.Members = nil
			publish()
			_ = nc.FlushTimeout(interval) // who is not told finds nobody by that name, and asks the queue group
			return
		}
	}
}
