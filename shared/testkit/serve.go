package testkit

import (
	"context"
	"testing"
	"time"
)

// Server is what Serve starts and ends: an rpc.Server.
type Server interface {
	Start(context.Context) error
	Drain(context.Context) error
}

// Serve starts a server that is drained when the test ends.
func Serve(t testing.TB, srv Server) {
	t.Helper()
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
}
