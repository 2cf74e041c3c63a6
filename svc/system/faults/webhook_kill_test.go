package faults_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// told is a message that a receiver got, and what it answered.
type told struct {
	id, object string
	status     int
}

// receivers are the systems of organizers, by the last part of their address. One whose name begins with "poor" refuses
// each message once.
type receivers struct {
	*httptest.Server
	mu  sync.Mutex
	got map[string][]told
}

func newReceivers(t *testing.T) *receivers {
	r := &receivers{got: map[string][]told{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var m struct {
			Type string
			Data struct{ ID string }
		}
		if err != nil || json.Unmarshal(body, &m) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		name := req.URL.Path[1:]
		one := told{id: req.Header.Get("webhook-id"), object: m.Type + " " + m.Data.ID, status: http.StatusNoContent}
		if strings.HasPrefix(name, "poor") && !slices.ContainsFunc(r.got[name], func(o told) bool { return o.id == one.id }) {
			one.status = http.StatusServiceUnavailable
		}
		r.got[name] = append(r.got[name], one)
		w.WriteHeader(one.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receivers) of(name string) []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[name])
}

// What a webhook is told of an order, with the process killed before and after every commit of the notification service,
// on the way to a receiver that takes it and to one that refuses everything once. Each fact arrives, in order; it arrives
// twice only where the process died in between; and the log has every attempt but those.
func TestWebhooksAtEveryStep(t *testing.T) {
	t.Parallel()
	s := systemtest.StartMortal(t, "")
	s.Unlimited(s.Admin)
	s.Set(s.Admin, api.OrganizersPerPerson.Key(), "0")
	s.Set(s.Admin, api.WebhookPrivate.Key(), "true")
	admin := s.Login(systemtest.AdminEmail)
	r := newReceivers(t)
	type hooked struct {
		name, path string // of the receiver, and of the webhook
		want       []string
	}
	var hooks []*hooked
	attempts := func(h *hooked) (list api.List[api.WebhookAttempt], err error) {
		got, err := s.Send("GET", h.path+"/attempts?limit=100", admin, nil)
		if err == nil {
			err = errors.Join(got.Is(200, ""), got.Decode(&list))
		}
		return list, err
	}
	armed := filepath.Join(s.Dir, "crash")
	walk := func(kind string, enough int) (deaths int) {
		return s.Moments("the way to a receiver, "+kind+",", 1, func(n, point int) bool {
			name := fmt.Sprintf("%s-%d", kind, n)
			o := systemtest.Call[api.Organizer](s.Site, 201, "POST", "/v1/organizers", admin, api.NewOrganizer{Name: name})
			start := time.Now().AddDate(0, 2, 0).UTC().Truncate(time.Second)
			e := systemtest.Call[api.Event](s.Site, 201, "POST", "/v1/events", admin, api.NewEvent{Name: name, OrganizerID: o.ID, StartsAt: start,
				EndsAt: start.Add(time.Hour), Timezone: "Europe/Berlin", Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"}, Capacity: 10,
				TicketTypes: []api.NewTicketType{{Name: "Seat", Price: api.Money{Currency: "EUR"}, Quantity: 10}}})
			e = systemtest.Call[api.Event](s.Site, 200, "POST", "/v1/events/"+e.ID.String()+"/publish", admin, nil)
			path := "/v1/organizers/" + o.ID.String() + "/webhooks"
			hook := systemtest.Call[api.WebhookSecret](s.Site, 201, "POST", path, admin, api.NewWebhook{URL: r.URL + "/" + name,
				Topics: []string{api.HookOrderPaid, api.HookTicketIssued}})
			h := &hooked{name: name, path: path + "/" + hook.ID.String()}
			hooks = append(hooks, h)
			var made api.CreatedOrder
			died := s.Survive("notification", point, func() error {
				got, err := s.Send("POST", "/v1/orders", admin, systemtest.Seats(e, 1), "Idempotency-Key", name)
				if err == nil {
					err = errors.Join(got.Is(201, ""), got.Decode(&made))
				}
				return err
			}, func() error {
				if _, err := os.Stat(armed); err != nil { // it has died; what it owes is looked at in the end
					return nil
				}
				list, err := attempts(h)
				if err == nil && len(list.Items) < enough {
					err = fmt.Errorf("%d attempts", len(list.Items))
				}
				return err
			})
			var tickets []ids.Ticket
			testkit.Eventually(t, time.Minute, func() error {
				var list api.List[api.Ticket]
				got, err := s.Send("GET", "/v1/orders/"+made.ID.String()+"/tickets", admin, nil)
				if err == nil {
					err = errors.Join(got.Is(200, made.ID.String()), got.Decode(&list))
				}
				for _, ticket := range list.Items {
					tickets = append(tickets, ticket.ID)
				}
				return err
			})
			h.want = []string{api.HookOrderPaid + " " + made.ID.String(), api.HookTicketIssued + " " + tickets[0].String()}
			return died
		})
	}
	good, poor := walk("good", 2), walk("poor", 1)
	for _, kind := range []string{"poor-again", "poor-last"} { // transactions that shared a commit have ended the walk early
		if poor < 8 && systemtest.EveryMoment() {
			poor += walk(kind, 1)
		}
	}
	if systemtest.EveryMoment() && (good < 8 || poor < 8) {
		t.Error("the way to a receiver has more steps")
	}
	requests, logged := 0, 0
	for _, h := range hooks {
		var list api.List[api.WebhookAttempt]
		testkit.Eventually(t, 2*time.Minute, func() error { // a webhook that a dead process had is left alone for a minute
			got, err := s.Send("GET", h.path, admin, nil)
			if err == nil {
				err = got.Is(200, `"waiting":0`)
			}
			if err == nil {
				list, err = attempts(h)
			}
			return err
		})
		taken, refused := map[string]int{}, map[string]int{}
		for _, a := range list.Items {
			if a.Delivered && a.Status == 204 && a.Problem == "" {
				taken[a.MessageID.String()]++
			} else {
				refused[a.MessageID.String()]++
			}
		}
		got := r.of(h.name)
		requests, logged = requests+len(got), logged+len(list.Items)
		var objects []string
		var all []string
		for _, m := range got {
			if !slices.Contains(all, m.id) {
				all = append(all, m.id)
			}
			if m.status == 204 && !slices.Contains(objects, m.object) {
				objects = append(objects, m.object)
			}
		}
		if !slices.Equal(objects, h.want) {
			t.Errorf("%s was told %v, want %v", h.name, objects, h.want)
		}
		if len(all) != len(h.want) || len(taken) != len(h.want) || len(refused) > len(h.want) {
			t.Errorf("%s: messages %v; the log has %v taken and %v refused", h.name, all, taken, refused)
		}
		for _, id := range all {
			if taken[id] != 1 || refused[id] > 1 {
				t.Errorf("%s: message %s is %d times taken and %d times refused in the log", h.name, id, taken[id], refused[id])
			}
		}
	}
	t.Logf("%d messages, of which the log has %d", requests, logged)
	if lost := requests - logged; lost < 0 || lost > good+poor {
		t.Errorf("%d messages are not in the log, with %d deaths", lost, good+poor)
	}
}
