package natsconf

import (
	"context"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The pauses between restarts grow while none helps, and begin anew after an answer.
func TestLineWatch(t *testing.T) {
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	w := &lineWatch{patience: 30 * time.Second, heard: start, pause: 30 * time.Second}
	if w.up(true, at(1)) {
		t.Error("a line is up before the first answer")
	}
	w.answer(at(1))
	if !w.up(true, at(12)) || w.up(false, at(12)) || w.up(true, at(13)) {
		t.Error("a line is up for 12 s after an answer, while it is linked")
	}
	var restarts []int
	for s := 1; s < 1000; s++ {
		if w.stuck(at(s)) {
			restarts = append(restarts, s)
		}
	}
	want := []int{31, 91, 211, 451, 751}
	if len(restarts) != len(want) {
		t.Fatalf("restarts at %v", restarts)
	}
	for i := range want {
		if restarts[i] != want[i] {
			t.Errorf("restarts at %v, want %v", restarts, want)
		}
	}
	w.answer(at(1000))
	if w.stuck(at(1029)) || !w.stuck(at(1030)) {
		t.Error("the patience does not begin anew")
	}
}

// A server that has stopped to dial is started anew.
func TestLineOfServerThatNoLongerDials(t *testing.T) {
	dir := t.TempDir()
	srv, err := Start(t.Context(), Config{Dir: dir, Leaf: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Shutdown(context.Background()) })
	v, err := OpenVenue(dir, "ven_a")
	if err != nil {
		t.Fatal(err)
	}
	creds := dir + "/a.creds"
	text, err := v.Credentials(t.Context())
	if err == nil {
		err = writeFile(creds, text)
	}
	if err == nil {
		err = srv.pushVenue(t.Context(), v)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := StartLeaf(t.Context(), LeafConfig{Plain: true, Venue: "ven_a", Hub: srv.LeafURL(), Creds: creds, Log: testkit.Log(t),
		Patience: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Shutdown(context.Background()) })
	restarted := func(n int) {
		t.Helper()
		testkit.Eventually(t, 15*time.Second, func() error {
			if !l.Linked() || l.State().Restarts < n {
				return context.DeadlineExceeded
			}
			return nil
		})
	}
	restarted(0)
	l.srv.Load().Shutdown() // it dials no more
	restarted(1)
}
