package gateway_test

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// parcel is on its way until it has arrived.
type parcel struct {
	Version int64 `json:"version"`
	Arrived bool  `json:"arrived"`
}

func (p parcel) ETag() string      { return strconv.FormatInt(p.Version, 10) }
func (p parcel) IsTransient() bool { return !p.Arrived }

var getParcel = rpc.Endpoint[api.EventRef, parcel]{Spec: rpc.Spec{Service: "parcels", Name: "get", Method: "GET", Path: "/v1/parcels/{id}", Waits: "id"}}

// parcels is a gateway with an endpoint that lets callers wait.
type parcels struct {
	*door
	state atomic.Pointer[parcel]
	calls atomic.Int64
	asked chan struct{} // gets a value with each call
}

func openParcels(t *testing.T) *parcels {
	t.Helper()
	p := &parcels{asked: make(chan struct{}, 64)}
	p.state.Store(&parcel{Version: 1})
	p.door = open(t, func(c *gateway.Config) { c.Endpoints = append(c.Endpoints, getParcel.Describe()) })
	s := p.server("parcels")
	rpc.Handle(s, getParcel, func(context.Context, *api.EventRef) (*parcel, error) {
		p.calls.Add(1)
		state := p.state.Load()
		p.asked <- struct{}{}
		return state, nil
	})
	testkit.Serve(p.t, s)
	return p
}

// set changes the parcel, and publishes that it has changed.
func (p *parcels) set(state parcel) {
	p.t.Helper()
	p.state.Store(&state)
	if err := live.Publish(p.nats.Conn, live.Subject("parcels", string(theEvent)), "changed", "", nil); err != nil {
		p.t.Fatal(err)
	}
}

// get asks in the background.
func (p *parcels) get(query string, headers ...string) <-chan answer {
	got := make(chan answer, 1)
	go func() { got <- p.do("GET", "/v1/parcels/"+string(theEvent)+query, "", headers...) }()
	return got
}

func (p *parcels) want(got <-chan answer, status int, body string) {
	p.t.Helper()
	select {
	case a := <-got:
		if a.StatusCode != status || a.body != body {
			p.t.Errorf("got %d %s, want %d %s", a.StatusCode, a.body, status, body)
		}
	case <-time.After(testkit.Within(20 * time.Second)):
		p.t.Fatal("no answer")
	}
}

// Who waits is answered when the state changes, by two calls of the service.
func TestWaitForAChange(t *testing.T) {
	p := openParcels(t)
	for _, ask := range [][]string{{"?wait=30s"}, {"?wait=30"}, {"", "Prefer", "respond-async, wait=30"}, {"?wait=1h"}, {"?wait=30s", "If-None-Match", `"1"`}} {
		p.state.Store(&parcel{Version: 1})
		calls := p.calls.Load()
		got := p.get(ask[0], ask[1:]...)
		<-p.asked
		p.set(parcel{Version: 2, Arrived: true})
		p.want(got, 200, `{"version":2,"arrived":true}`)
		<-p.asked
		if n := p.calls.Load() - calls; n != 2 {
			t.Errorf("%v: the service was called %d times, want 2", ask, n)
		}
	}
}

// What will not change by itself is answered at once, as is a version that the caller does not name; a wait of nothing is none.
func TestNothingToWaitFor(t *testing.T) {
	p := openParcels(t)
	p.want(p.get("?wait=0"), 200, `{"version":1,"arrived":false}`)
	p.want(p.get("", "Prefer", "wait=soon"), 200, `{"version":1,"arrived":false}`)
	p.want(p.get("?wait=30s", "If-None-Match", `"0"`), 200, `{"version":1,"arrived":false}`)
	p.state.Store(&parcel{Version: 2, Arrived: true})
	p.want(p.get("?wait=30s"), 200, `{"version":2,"arrived":true}`)
	for _, bad := range []string{"soon", "-1s", "%00"} {
		wantProblem(t, p.do("GET", "/v1/parcels/"+string(theEvent)+"?wait="+bad, ""), 400, fault.Invalid)
	}
	wantProblem(t, p.do("GET", "/v1/events/"+string(theEvent)+"?wait=5s", ""), 400, fault.Invalid) // which waits for nothing
}

// The wait ends with the state as it is then, also when the message of a change was lost.
func TestWaitEnds(t *testing.T) {
	p := openParcels(t)
	p.want(p.get("?wait=20ms"), 200, `{"version":1,"arrived":false}`)
	p.want(p.get("?wait=20ms", "If-None-Match", `"1"`), 304, "")
	for len(p.asked) > 0 {
		<-p.asked
	}
	got := p.get("?wait=300ms")
	<-p.asked
	p.state.Store(&parcel{Version: 2, Arrived: true})
	p.want(got, 200, `{"version":2,"arrived":true}`)
	for len(p.asked) > 0 {
		<-p.asked
	}

	got = p.get("?wait=30s", "If-None-Match", `"2"`)
	<-p.asked
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	p.http.CloseIdleConnections()
	if err := p.gateway.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	p.want(got, 304, "")
	if strings.Contains(p.log.String(), "panic") {
		t.Error(p.log.String())
	}
}
