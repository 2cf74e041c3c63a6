package settings_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/settings"
)

// The settings of these tests.
var (
	holdTTL = settings.Duration("ticketing.hold_ttl", 10*time.Minute, "How long a hold lasts.",
		settings.Between(time.Second, 24*time.Hour))
	perOrder = settings.Int("ticketing.max_per_order", 20, "Tickets in one order.", settings.Between(1, 100))
	sandbox  = settings.Bool("payment.sandbox", true, "Whether the sandbox provider is on.")
	sender   = settings.String("notification.sender", "Starlight", "The name on mails.", 20)
	logLevel = settings.Level("log.level", slog.LevelInfo, "What is logged.")
)

func definitions() []settings.Definition {
	return []settings.Definition{holdTTL, perOrder, sandbox, sender, logLevel}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		def   settings.Definition
		text  string
		wrong string // part of the error; "" means accepted
	}{
		{holdTTL, "5m", ""},
		{holdTTL, " 90s\n", ""},
		{holdTTL, "24h", ""},
		{holdTTL, "24h1ns", "not within 1s to 24h"},
		{holdTTL, "0s", "not within"},
		{holdTTL, "-5m", "not within"},
		{holdTTL, "300", "not a duration"},
		{holdTTL, "", "not a duration"},
		{perOrder, "100", ""},
		{perOrder, "101", "not within 1 to 100"},
		{perOrder, "1e2", "not a whole number"},
		{perOrder, "99999999999999999999", "not a whole number"},
		{sandbox, "false", ""},
		{sandbox, "no", "neither true nor false"},
		{sandbox, "1", "neither true nor false"},
		{sender, "", ""},
		{sender, "Zoë & Söhne", ""},
		{sender, "a\nBcc: b", "not one line"},
		{sender, "a\xff", "not one line"},
		{sender, strings.Repeat("x", 21), "longer than 20"},
		{sender, strings.Repeat("x", 2000), "longer than 1024"},
		{logLevel, "debug", ""},
		{logLevel, "trace", "none of"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s=%.20q", tt.def.Spec().Key, tt.text), func(t *testing.T) {
			err := tt.def.Check(tt.text)
			switch {
			case tt.wrong == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("error %v, want one with %q", err, tt.wrong)
			}
		})
	}
}

func TestSpec(t *testing.T) {
	tests := []struct {
		def                settings.Definition
		kind               settings.Kind
		def_, bounds, opts string
	}{
		{holdTTL, settings.KindDuration, "10m", "1s to 24h", ""},
		{perOrder, settings.KindInt, "20", "1 to 100", ""},
		{sandbox, settings.KindBool, "true", "true or false", ""},
		{sender, settings.KindString, "Starlight", "at most 20 bytes", ""},
		{logLevel, settings.KindEnum, "info", "one of debug, info, warn, error", "debug info warn error"},
	}
	for _, tt := range tests {
		s := tt.def.Spec()
		if s.Kind != tt.kind || s.Default != tt.def_ || s.Bounds != tt.bounds ||
			strings.Join(s.Options, " ") != tt.opts {
			t.Errorf("spec of %s is %+v", s.Key, s)
		}
		if err := tt.def.Check(s.Default); err != nil {
			t.Errorf("%s refuses its own default: %v", s.Key, err)
		}
	}
}

func TestContradictionsPanic(t *testing.T) {
	tests := map[string]func(){
		"default out of bounds": func() { settings.Int("a.b", 0, "Doc.", settings.Between(1, 2)) },
		"wild key":              func() { settings.Bool("a.>", true, "Doc.") },
		"key of one word":       func() { settings.Bool("a", true, "Doc.") },
		"key of the base":       func() { settings.Bool("base.a", true, "Doc.") },
		"no documentation":      func() { settings.Bool("a.b", true, "") },
	}
	for name, declare := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			declare()
		})
	}
}

func TestFixed(t *testing.T) {
	live := settings.Fixed(holdTTL.Is(10 * time.Millisecond))
	if got := holdTTL.Get(live); got != 10*time.Millisecond {
		t.Errorf("hold is %s", got)
	}
	if got := perOrder.Get(live); got != 20 {
		t.Errorf("what is not fixed has not its default but %d", got)
	}
	if got := perOrder.Get(nil); got != 20 {
		t.Errorf("a nil Live gives %d", got)
	}
	changes := 0
	stop := live.OnChange(holdTTL, func() { changes++ })
	if err := live.Change(holdTTL.Is(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := holdTTL.Get(live); got != time.Hour || changes != 1 {
		t.Errorf("after a change: %s, %d calls", got, changes)
	}
	stop()
	if err := live.Change(holdTTL.Is(time.Minute)); err != nil || changes != 1 {
		t.Errorf("after stop: %d calls, error %v", changes, err)
	}
	if err := live.Change(perOrder.Is(1)); err == nil {
		t.Error("what Fixed was not given can be changed")
	}
	live.Close()
}

func TestGetAllocatesNothing(t *testing.T) {
	live := settings.Fixed(holdTTL.Is(time.Hour), sender.Is("x"))
	n := testing.AllocsPerRun(100, func() {
		if holdTTL.Get(live) != time.Hour || sender.Get(live) != "x" {
			t.Error("wrong value")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGet(b *testing.B) {
	live := settings.Fixed(holdTTL.Is(time.Hour), perOrder.Is(1), sandbox.Is(true))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if holdTTL.Get(live) != time.Hour {
				b.Error("wrong value")
			}
		}
	})
}
