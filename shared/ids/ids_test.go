package ids_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

func TestNewSortsByTimeAndParses(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	var made []string
	for i := range 100 {
		id := ids.New[ids.OrderKind](start.Add(time.Duration(i) * time.Millisecond))
		if _, err := ids.Parse[ids.OrderKind](id.String()); err != nil {
			t.Fatalf("%s does not parse: %v", id, err)
		}
		made = append(made, id.String())
	}
	if !slices.IsSorted(made) {
		t.Error("ids made one after another do not sort by age")
	}
	if len(slices.Compact(made)) != 100 {
		t.Error("an id was made twice")
	}
}

func TestTime(t *testing.T) {
	for _, at := range []time.Time{time.UnixMilli(0), time.UnixMilli(1<<48 - 1),
		time.Date(2026, 5, 1, 12, 0, 0, 123_000_000, time.UTC)} {
		if got := ids.New[ids.PaymentKind](at).Time(); !got.Equal(at) {
			t.Errorf("made at %v, says %v", at, got)
		}
	}
	if got := ids.Order("").Time(); !got.IsZero() {
		t.Errorf("no id was made at %v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	good := ids.New[ids.EventKind](time.Now()).String()
	for _, s := range []string{"", "*", ">", ".", "evt_", "evt_*", "evt_>", good + "x", good[:29],
		strings.ToUpper(good),
		"ord_" + good[4:], "evt." + good[4:], good[:10] + "\x00" + good[11:], good[:10] + "\r\n" + good[12:],
		good[:10] + "." + good[11:], good[:10] + " " + good[11:], good[:10] + "u" + good[11:]} {
		if id, err := ids.Parse[ids.EventKind](s); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", s, id)
		}
	}
}

func TestJSONRefusesWildIDs(t *testing.T) {
	var v struct {
		ID ids.Event `json:"id"`
	}
	if err := json.Unmarshal([]byte(`{"id":"evt_>"}`), &v); err == nil {
		t.Errorf("decoded %q", v.ID)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ids.New[ids.TicketKind](time.Now()).String())
	f.Add("tkt_*")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ids.Parse[ids.TicketKind](s)
		if err != nil {
			return
		}
		if id.String() != s {
			t.Fatalf("Parse(%q) = %q", s, id)
		}
		for _, c := range []byte(s) {
			if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				t.Fatalf("%q has %q", s, c)
			}
		}
	})
}

func TestRaw(t *testing.T) {
	now := time.Now()
	for range 100 {
		id := ids.New[ids.TicketKind](now)
		if got := ids.FromRaw[ids.TicketKind](id.Raw()); got != id {
			t.Errorf("%s becomes %s", id, got)
		}
	}
	if raw := ids.Ticket("").Raw(); raw != [16]byte{} {
		t.Errorf("no id is %x", raw)
	}
}

func TestTwin(t *testing.T) {
	const user ids.User = "usr_z1k3q8v5z7m2n4p6r8s9t0w1xy"
	if org := ids.Twin[ids.OrganizerKind](user); org != "org_z1k3q8v5z7m2n4p6r8s9t0w1xy" || ids.Twin[ids.UserKind](org) != user {
		t.Errorf("the twin of %s is %s", user, org)
	}
	if org := ids.Twin[ids.OrganizerKind](ids.User("")); org != "" {
		t.Errorf("the twin of none is %q", org)
	}
}
