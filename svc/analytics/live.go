package analytics

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
)

// silence is after how many beats an instance counts as gone.
const silence = 3

// newID returns the id of an instance that starts now.
func newID() string { return fmt.Sprintf("%019d-%s", time.Now().UnixNano(), nuid.Next()) }

// onPeer notes that another instance is there.
func (s *Service) onPeer(m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[string(m.Data)] = s.beats
}

// beat begins the next beat of this instance. It returns the events to publish: none while another instance does
// that, which may be silent for the first time since now.
func (s *Service) beat() []ids.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats++
	first := s.beats > silence
	for peer, heard := range s.peers {
		if s.beats-heard > silence {
			delete(s.peers, peer)
		} else if peer < s.id {
			first = false
		}
	}
	var due []ids.Event
	for event, changed := range s.touched {
		if first {
			due = append(due, event)
		}
		if first || s.beats-changed > 2*silence {
			delete(s.touched, event)
		}
	}
	return due
}

// publishLive sends the numbers that have changed to those who follow them, at most once a second for each event.
func (s *Service) publishLive(context.Context) error {
	if s.current() != nil {
		return nil
	}
	if err := s.nc.Publish(api.AnalyticsPeers, []byte(s.id)); err != nil {
		return err
	}
	for _, event := range s.beat() {
		var sum *api.EventSummary
		err := s.db.View(func(tx *bolt.Tx) error {
			o, err := offer(tx, event)
			if err == nil && o != nil && s.checkComplete(tx, event) == nil {
				sum = summarize(tx, o, s.now())
			}
			return err
		})
		if err != nil {
			return err
		}
		if sum == nil {
			continue
		}
		if err := live.Publish(s.nc, sum.LiveSubject(), "summary", "", sum); err != nil {
			return err
		}
	}
	return nil
}
