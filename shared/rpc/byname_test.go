package rpc_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/instances"
	"github.com/starlightsymphony/starlight/shared/rpc/traffic"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// twins are two instances of a service, and a client that calls them by name.
type twins struct {
	t       testing.TB
	client  *rpc.Client
	choice  *instances.Set
	servers [2]*rpc.Server
	calls   [2]atomic.Int64
	handle  func(at int, ctx context.Context) error
}

func quick(t *twins) {
	t.handle = func(int, context.Context) error { return nil }
}

// newTwins starts them. They are handled by what handle says at the time.
func newTwins(t testing.TB, again traffic.Rules) *twins {
	url := natsServer(t, server.Options{})
	w := &twins{t: t, choice: instances.New(instances.Config{Log: testkit.Log(t), Registry: observe.NewRegistry(),
		Now: time.Now})}
	quick(w)
	for at := range w.servers {
		s := rpc.NewServer(connect(t, url), rpc.ServerConfig{Service: "things", Log: testkit.Log(t), ByName: true,
			Registry: observe.NewRegistry()})
		rpc.Handle(s, reading(), func(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
			w.calls[at].Add(1)
			return nil, w.handle(at, ctx)
		})
		testkit.Serve(t, s)
		w.servers[at] = s
	}
	control := traffic.New([]traffic.Name{{Service: "things", Endpoint: "read"}}, observe.NewRegistry())
	if err := control.Set(again); err != nil {
		t.Fatal(err)
	}
	w.choice.Use(instances.Rules{Eject: true})
	w.beat()
	w.client = rpc.NewClient(connect(t, url), rpc.ClientConfig{Name: "gateway", Traffic: control, Instances: w.choice})
	return w
}

func (w *twins) beat() {
	for _, s := range w.servers {
		w.choice.Hear(instances.Beat{Process: s.Instance().ID, Members: []instances.Member{s.Instance()}})
	}
	w.choice.Look()
}

func reading() rpc.Endpoint[rpc.None, rpc.None] {
	return rpc.Endpoint[rpc.None, rpc.None]{Spec: rpc.Spec{Service: "things", Name: "read", Method: "GET",
		Path: "/v1/things", Timeout: 400 * time.Millisecond}}
}

// call makes n calls, so many at a time, and returns how many each took and how many failed.
func (w *twins) call(n, together int) (took [2]int64, failed int64) {
	w.t.Helper()
	before := [2]int64{w.calls[0].Load(), w.calls[1].Load()}
	var wrong atomic.Int64
	done := make(chan struct{})
	for range together {
		go func() {
			for range n / together {
				if _, err := rpc.Call(w.t.Context(), w.client, reading(), &rpc.None{}); err != nil {
					wrong.Add(1)
				}
			}
			done <- struct{}{}
		}()
	}
	for range together {
		<-done
	}
	return [2]int64{w.calls[0].Load() - before[0], w.calls[1].Load() - before[1]}, wrong.Load()
}

// What an instance answers tells how it is: faults of its own, calls that take too long, calls without an answer.
func TestWhatIsSickIsNotCalled(t *testing.T) {
	for name, sick := range map[string]func(ctx context.Context) error{
		"errors": func(context.Context) error { return fault.New(fault.Internal, "sick") },
		"slow": func(ctx context.Context) error {
			timer := time.NewTimer(60 * time.Millisecond)
			defer timer.Stop()
			<-timer.C
			return nil
		},
		"hanging": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTwins(t, traffic.Rules{})
			w.handle = func(at int, ctx context.Context) error {
				if at == 1 {
					return sick(ctx)
				}
				return nil
			}
			for ; w.calls[1].Load() < 6; w.call(8, 8) {
			}
			w.beat()
			if got := w.choice.Ejected(); !slices.Equal(got, []string{w.servers[1].Instance().ID}) {
				t.Fatalf("ejected: %v", got)
			}
			if took, failed := w.call(50, 5); took != [2]int64{50, 0} || failed > 0 {
				t.Errorf("after that: %v, %d failed", took, failed)
			}
		})
	}
}

// What the caller is to blame for says nothing of the instance, and neither does a caller that leaves.
func TestCallersAreToBlameForTheirFaults(t *testing.T) {
	w := newTwins(t, traffic.Rules{})
	w.handle = func(at int, _ context.Context) error {
		if at == 1 {
			return fault.New(fault.NotFound, "nothing there")
		}
		return nil
	}
	w.call(60, 2)
	w.handle = func(at int, ctx context.Context) error {
		if at == 1 {
			<-ctx.Done()
		}
		return nil
	}
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		rpc.Call(ctx, w.client, reading(), &rpc.None{})
		cancel()
	}
	w.beat()
	if got := w.choice.Ejected(); len(got) > 0 {
		t.Errorf("ejected: %v", got)
	}
}

// An instance that ended without a word costs no call: nobody answers to its name, so it has not run.
func TestWhatIsGoneCostsNoCall(t *testing.T) {
	w := newTwins(t, traffic.Rules{})
	if err := w.servers[1].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took, failed := w.call(100, 4); took[0] != 100 || failed > 0 {
		t.Errorf("%v, %d failed", took, failed)
	}
}

// The second try of a read that hangs is not at the instance that hangs.
func TestTheSecondTryIsAtAnother(t *testing.T) {
	w := newTwins(t, traffic.Rules{Again: "*=20ms", Budget: 100})
	w.handle = func(at int, ctx context.Context) error {
		if at == 1 {
			<-ctx.Done()
		}
		return nil
	}
	if took, failed := w.call(20, 1); failed > 0 || took[0] != 20 {
		t.Errorf("%v, %d failed", took, failed)
	}
}

// BenchmarkByName is a call of one of two instances, by the queue group and by name.
func BenchmarkByName(b *testing.B) {
	for _, rules := range []instances.Rules{{}, {Eject: true}, {Eject: true, DryRun: true}} {
		b.Run(fmt.Sprintf("eject=%t,dry=%t", rules.Eject, rules.DryRun), func(b *testing.B) {
			w := newTwins(b, traffic.Rules{})
			w.choice.Use(rules)
			ctx := rpc.WithMeta(context.Background(), rpc.Meta{RequestID: string(ids.New[ids.EventKind](time.Now()))})
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := rpc.Call(ctx, w.client, reading(), &rpc.None{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkUnequal is 32 callers of two instances, one of which takes ten times as long as the other, chosen at random,
// as a queue group does (dry=true), and by load.
func BenchmarkUnequal(b *testing.B) {
	for _, slower := range []time.Duration{1, 3, 10} {
		for _, random := range []bool{true, false} {
			b.Run(fmt.Sprintf("slower=%d,random=%t", slower, random), func(b *testing.B) {
				w := newTwins(b, traffic.Rules{})
				w.handle = func(at int, _ context.Context) error {
					wait := 2 * time.Millisecond
					if at == 1 {
						wait *= slower
					}
					timer := time.NewTimer(wait)
					defer timer.Stop()
					<-timer.C
					return nil
				}
				w.choice.Use(instances.Rules{Eject: true, DryRun: random})
				const callers = 32
				each := max(1, b.N/callers)
				took := make([]time.Duration, each*callers)
				done := make(chan struct{})
				b.ResetTimer()
				for caller := range callers {
					go func() {
						for n := range each {
							began := time.Now()
							if _, err := rpc.Call(b.Context(), w.client, reading(), &rpc.None{}); err != nil {
								b.Error(err)
							}
							took[caller*each+n] = time.Since(began)
						}
						done <- struct{}{}
					}()
				}
				for range callers {
					<-done
				}
				b.StopTimer()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}
