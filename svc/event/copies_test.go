package event

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/coherence"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// An acknowledged change is what every instance answers next, and a gateway's copies are invalidated by then.
func TestAcknowledgedChangeIsAnsweredEverywhere(t *testing.T) {
	for _, url := range []func(testing.TB) string{testkit.SQLite, testkit.Postgres} {
		w := startOn(t, testkit.NATS(t), url(t))
		second := w.instance()
		e := w.published("Concert")
		gateway := w.client
		var evicted []string
		done := make(chan string, 1024)
		holder := coherence.NewHolder(coherence.HolderConfig{NATS: w.nats.Connect(), Service: "event",
			Tier: coherence.Gateways, Log: testkit.Log(t),
			Lease: func(ctx context.Context, req *rpc.LeaseRequest) (*rpc.Lease, error) {
				return rpc.Call(ctx, gateway, api.LeaseEvents, req)
			}, Evict: func(tag string) {
				select {
				case done <- tag:
				default: // the test has ended, or has seen enough
				}
			}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- holder.Run(ctx) }()
		testkit.Eventually(t, 15*time.Second, func() error {
			for _, h := range []*coherence.Holder{w.service.holder, second.holder, holder} {
				if !h.Valid() {
					return fmt.Errorf("not all have a lease")
				}
			}
			return nil
		})
		for i := range 30 {
			name := fmt.Sprint("Concert ", i)
			must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Name: &name})
			for range 6 { // whichever instance it is
				if got := must(w, nob, api.GetEvent, api.EventRef{ID: e.ID}); got.Name != name {
					t.Fatalf("read %q after %q was acknowledged", got.Name, name)
				}
				if list := must(w, nob, api.ListEvents, api.EventQuery{}); len(list.Items) != 1 ||
					list.Items[0].Name != name {
					t.Fatalf("listed %+v after %q was acknowledged", list.Items, name)
				}
			}
		}
		for len(done) > 0 {
			evicted = append(evicted, <-done)
		}
		if len(evicted) < 30 {
			t.Errorf("a gateway had %d invalidations of 30 changes", len(evicted))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// What is the same for all callers is marked so, and nothing else.
func TestOnlyPublicAnswersAreShared(t *testing.T) {
	w := start(t)
	draft, public := w.draft("Draft"), w.published("Concert")
	shared := func(who rpc.Principal, spec rpc.Spec, params string) bool {
		t.Helper()
		reply, err := w.client.Forward(w.as(who), spec, nats.Header{rpc.HeaderParams: {params}}, nil)
		if err != nil || rpc.Fault(reply) != nil {
			t.Fatalf("%s %s: %v, %v", spec.Subject(), params, err, rpc.Fault(reply))
		}
		return reply.Header.Get(rpc.HeaderShared) != ""
	}
	testkit.Eventually(t, 15*time.Second, func() error {
		if !shared(nob, api.GetEvent.Spec, "id="+public.ID.String()) {
			return fmt.Errorf("a public event is not shared")
		}
		return nil
	})
	if shared(anna, api.GetEvent.Spec, "id="+draft.ID.String()) {
		t.Error("a draft is shared")
	}
	for params, want := range map[string]bool{"": true, "status=published&q=concert": true, "status=draft": false,
		"status=cancelled": false} {
		if got := shared(anna, api.ListEvents.Spec, params); got != want {
			t.Errorf("list ?%s: shared is %t", params, got)
		}
	}
	w.clock.Advance(public.EndsAt.Add(-time.Millisecond / 2).Sub(w.clock.Now()))
	if shared(nob, api.ListEvents.Spec, "") {
		t.Error("a list is shared beyond the end of an event in it")
	}
}
