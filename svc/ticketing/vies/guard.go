package vies

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/singleflight"

	"github.com/starlightsymphony/starlight/shared/observe"
)

const (
	// Wait is how long who asks waits for an answer. An order that takes longer than a quarter of its caller's time
	// would count as one that shows that there are too many.
	Wait = time.Second

	callTimeout = 20 * time.Second // of a question, which goes on when nobody waits any more
	mostCalls   = 16               // questions on their way at a time, of this instance

	keepKnown   = 12 * time.Hour
	keepUnknown = 10 * time.Minute // numbers are given out every day
	mostKept    = 10_000           // answers

	// A member state that gives no answer breakerFailures times in a row is not asked for breakerPause.
	breakerFailures = 3
	breakerPause    = 30 * time.Second
)

// ErrNoAnswer is what a guard returns while there is no answer.
var ErrNoAnswer = errors.New("VIES gives no answer")

// Guard stands before a registry: it remembers answers, has one question about a number on its way at a time and only
// so many in all, waits no longer than a moment, and leaves a member state alone that fails.
type Guard struct {
	registry Registry
	wait     time.Duration
	now      func() time.Time
	log      *slog.Logger
	reg      *observe.Registry

	asking singleflight.Group
	calls  chan struct{}
	life   context.Context // of questions
	end    context.CancelFunc

	mu       sync.Mutex
	known    map[string]Answer // by number and requester
	breakers map[string]*gobreaker.CircuitBreaker[Answer]
}

// NewGuard returns a guard before a registry, or before none, which never answers. Close it.
func NewGuard(r Registry, reg *observe.Registry, log *slog.Logger, now func() time.Time) *Guard {
	g := &Guard{registry: r, wait: Wait, now: now, log: log, reg: reg, calls: make(chan struct{}, mostCalls),
		known: map[string]Answer{}, breakers: map[string]*gobreaker.CircuitBreaker[Answer]{}}
	g.life, g.end = context.WithCancel(context.Background())
	reg.GaugeFunc("starlight_ticketing_vies_calls", "Questions about VAT numbers that are on their way to VIES.",
		func() float64 { return float64(len(g.calls)) })
	return g
}

// Close ends the questions that are on their way.
func (g *Guard) Close() { g.end() }

// Ask implements Registry, within Wait. Its error is ErrNoAnswer or that of ctx.
func (g *Guard) Ask(ctx context.Context, number, requester string) (Answer, error) {
	key := number + " " + requester
	if a, ok := g.remembered(key); ok {
		g.count("remembered")
		return a, nil
	}
	if len(number) < 2 || g.registry == nil {
		return Answer{}, ErrNoAnswer
	}
	result := g.asking.DoChan(key, func() (any, error) { return g.ask(key, number, requester) })
	wait, cancel := context.WithTimeout(ctx, g.wait)
	defer cancel()
	select {
	case r := <-result:
		if r.Err != nil {
			return Answer{}, ErrNoAnswer
		}
		return r.Val.(Answer), nil
	case <-wait.Done():
		g.count("late")
		if err := ctx.Err(); err != nil {
			return Answer{}, err
		}
		return Answer{}, ErrNoAnswer
	}
}

// ask asks the registry, whoever waits, and remembers what it says.
func (g *Guard) ask(key, number, requester string) (Answer, error) {
	select {
	case g.calls <- struct{}{}:
	default:
		g.count("busy")
		return Answer{}, ErrNoAnswer
	}
	defer func() { <-g.calls }()
	ctx, cancel := context.WithTimeout(g.life, callTimeout)
	defer cancel()
	a, err := g.breaker(number[:2]).Execute(func() (Answer, error) { return g.registry.Ask(ctx, number, requester) })
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		g.count("open")
		return Answer{}, err
	case err != nil:
		g.count("failed")
		g.log.Warn("VIES gave no answer about a VAT number", "state", number[:2], "error", err)
		return Answer{}, err
	case a.Known:
		g.count("known")
	default:
		g.count("unknown")
	}
	g.remember(key, a)
	return a, nil
}

func (g *Guard) breaker(state string) *gobreaker.CircuitBreaker[Answer] {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.breakers[state]
	if b == nil {
		b = gobreaker.NewCircuitBreaker[Answer](gobreaker.Settings{Name: state, Timeout: breakerPause,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
			OnStateChange: func(name string, _, to gobreaker.State) {
				g.log.Warn("the way to a member state in VIES changed", "state", name, "breaker", to.String())
			}})
		g.breakers[state] = b
	}
	return b
}

func (g *Guard) remembered(key string) (Answer, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, ok := g.known[key]
	keep := keepUnknown
	if a.Known {
		keep = keepKnown
	}
	return a, ok && g.now().Before(a.At.Add(keep))
}

func (g *Guard) remember(key string, a Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= mostKept {
		clear(g.known)
	}
	g.known[key] = a
}

func (g *Guard) count(outcome string) {
	g.reg.Counter("starlight_ticketing_vies_questions_total", "Questions about VAT numbers, by what became of them.",
		"outcome", outcome).Inc()
}
