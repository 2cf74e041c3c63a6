package traffic_test

import (
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc/traffic"
)

func known() []traffic.Name {
	return []traffic.Name{{Service: "event", Endpoint: "get"}, {Service: "event", Endpoint: "list"},
		{Service: "ticketing", Endpoint: "create_order"}}
}

// The most exact name counts, wherever it stands.
func TestTheMostExactNameCounts(t *testing.T) {
	c := traffic.New(known(), observe.NewRegistry())
	err := c.Set(traffic.Rules{Timeouts: "event.get=1s, *=3s,event.*=2s", Again: "event.list=200ms", Budget: 10,
		Faults: "event.get=100% delay 20ms, ticketing.*=5% error unavailable"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[traffic.Name]traffic.Rule{
		known()[0]:                          {Timeout: time.Second, Fault: traffic.Fault{Percent: 100, Delay: 20 * time.Millisecond}},
		known()[1]:                          {Timeout: 2 * time.Second, Again: 200 * time.Millisecond},
		known()[2]:                          {Timeout: 3 * time.Second, Fault: traffic.Fault{Percent: 5, Code: fault.Unavailable}},
		{Service: "other", Endpoint: "get"}: {},
	} {
		if got := c.Of(name.Service, name.Endpoint); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if got := (*traffic.Control)(nil).Of("event", "get"); got != (traffic.Rule{}) {
		t.Errorf("without rules: %+v", got)
	}
}

// What cannot be read is refused with what is wrong, and changes nothing.
func TestRulesThatAreRefused(t *testing.T) {
	c := traffic.New(known(), observe.NewRegistry())
	if err := c.Set(traffic.Rules{Timeouts: "*=1s"}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"event.get":        "no NAME=VALUE",
		"event.gone=1s":    "no endpoint event.gone",
		"nobody.*=1s":      "no endpoint nobody.*",
		"event.get=soon":   "no duration",
		"event.get=2h":     "no duration",
		"event.get=-1s":    "no duration",
		"event.*.get=1s":   "no endpoint",
		"event.get=1s,=2s": "no endpoint",
	} {
		if err := c.Set(traffic.Rules{Timeouts: text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"event.get=10%", "event.get=0% delay 1s", "event.get=101% delay 1s", "event.get=5 delay 1s",
		"event.get=5% delay -1s", "event.get=5% error sold_out", "event.get=5% vanish now"} {
		if err := c.Set(traffic.Rules{Faults: text}); err == nil || !strings.Contains(err.Error(), "no fault") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got := c.Of("event", "get").Timeout; got != time.Second {
		t.Errorf("the rule before is gone: %v", got)
	}
}

// Second tries are a part of the calls, and what was saved before.
func TestBudget(t *testing.T) {
	c := traffic.New(known(), observe.NewRegistry())
	if err := c.Set(traffic.Rules{Again: "*=1s", Budget: 10}); err != nil {
		t.Fatal(err)
	}
	tries := func(calls int) (n int) {
		for range calls {
			c.Of("event", "get")
			if c.Again(false) {
				n++
			}
		}
		return n
	}
	if n := tries(1000); n < 100 || n > 160 {
		t.Errorf("%d second tries of the first thousand calls", n)
	}
	if n := tries(1000); n < 99 || n > 101 {
		t.Errorf("%d second tries of another thousand", n)
	}
	if err := c.Set(traffic.Rules{Again: "*=1s"}); err != nil {
		t.Fatal(err)
	}
	if n := tries(1000); n != 0 {
		t.Errorf("%d second tries without a budget", n)
	}
}
