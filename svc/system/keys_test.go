package system_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// keyed is a system with two gateways and a venue, whose keys are changed while people come and go.
type keyed struct {
	*pair
	*systemtest.Hall
	database string
}

// ripen has a key shown for long enough. Those before it are not over yet.
func (k *keyed) ripen(t *testing.T, service, id string) {
	t.Helper()
	age := 7*24*time.Hour + time.Minute
	if service == "user" {
		age = time.Hour
	}
	db, err := store.Open(t.Context(), k.database, service, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE signing_keys SET created_at = ? WHERE id = ?", store.Time(time.Now().Add(-age)), id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rotate makes the next key, which signs at once.
func (k *keyed) rotate(t *testing.T, service, purpose string) string {
	t.Helper()
	id, _, err := system.Rotate(t.Context(), k.database, purpose, nil)
	if err != nil {
		t.Fatal(err)
	}
	k.ripen(t, service, id)
	return id
}

func (k *keyed) withdraw(t *testing.T, purpose, id string) {
	t.Helper()
	if _, err := system.Withdraw(t.Context(), k.database, purpose, id, nil); err != nil {
		t.Fatal(err)
	}
}

// kidOf returns the key that has signed an access token.
func (k *keyed) kidOf(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var named struct{ Kid string }
	if err := json.Unmarshal(text, &named); err != nil {
		t.Fatal(err)
	}
	return named.Kid
}

// keyOf returns the key that has signed the code of a ticket.
func keyOf(t api.Ticket) string {
	signed, _ := code.Parse(t.Code)
	return signed.KeyID
}

// tokenOf returns the access token of an answer to a login or a refresh.
func tokenOf(a systemtest.Answer) string {
	var tokens api.Tokens
	_ = json.Unmarshal(a.Body, &tokens) // a token that is none is refused
	return tokens.AccessToken
}

// Keys of access tokens and of tickets follow one another while people read, log in and buy at two gateways, and nobody
// notices. A stolen key ends at once, and with it what it has signed, and nothing else: sessions and tickets stay.
func TestKeysRotateAndAreWithdrawn(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	cfg.Leaf, cfg.Sandbox = "127.0.0.1:0", true
	hub, sys, _ := systemtest.Start(t, cfg)
	k := &keyed{pair: &pair{Site: hub, cfg: cfg, sys: sys}, database: "sqlite:" + filepath.Join(cfg.Data, "sql")}
	k.sites = []*systemtest.Site{hub, k.gateway()}
	k.admin = hub.Login(systemtest.AdminEmail)
	hub.Unlimited(k.admin)
	_, owner := hub.Join("owner@example.org")
	_, buyer := hub.Join("buyer@example.org")
	k.Hall = &systemtest.Hall{Hub: hub, Owner: owner, Event: hub.Concert(owner, 1000, 0), Cfg: cfg}
	old := k.Buy(t, buyer, 4)
	k.Open(t, strings.TrimPrefix(systemtest.LeafURL(t, sys), "nats-leaf://"))
	at := testkit.FreeAddress(t)
	k.P = systemtest.Spawn(t, "starlight", nil, "edge", "--venue", k.Venue.ID.String(), "--hub", "nats-leaf://"+k.Line.Addr, "--creds", k.Creds,
		"--data", k.Folder, "--http", at)
	k.Edge = &systemtest.Site{T: t, URL: "http://" + at}
	k.Take(t)

	// Load: everybody is served, whatever happens to the keys.
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	var served atomic.Int64
	for i := range 4 {
		done.Go(func() {
			s := k.sites[i%2]
			for ctx.Err() == nil {
				got, err := s.Send("POST", "/v1/sessions", "", api.Login{Email: "buyer@example.org", Password: systemtest.Password})
				if err != nil || got.Status != 201 {
					t.Errorf("a login: %d %s %v", got.Status, got.Body, err)
					return
				}
				for range 20 {
					if got, err := k.sites[(i+1)%2].Send("GET", "/v1/me/tickets", tokenOf(got), nil); err != nil || got.Status != 200 {
						t.Errorf("a read: %d %s %v", got.Status, got.Body, err)
						return
					}
					served.Add(1)
				}
			}
		})
	}
	testkit.Eventually(t, 60*time.Second, func() error { // gateways ask for unknown keys once a second
		if n := served.Load(); n < 1000 {
			return fmt.Errorf("%d requests were served", n)
		}
		return nil
	})
	first := k.kidOf(t, buyer)
	second := k.rotate(t, "user", "access")
	testkit.Eventually(t, 90*time.Second, func() error { // instances read the keys every minute, and when they are asked
		if now := k.kidOf(t, hub.Login("buyer@example.org")); now != second {
			return fmt.Errorf("%s signs", now)
		}
		return nil
	})
	systemtest.Call[any](k.sites[1], 200, "GET", "/v1/me", buyer, nil) // of the first key

	// Tickets, with the line cut.
	heal := k.Line.Pause()
	k.rotate(t, "ticketing", "tickets")
	var fresh []api.Ticket
	testkit.Eventually(t, 90*time.Second, func() error {
		fresh = k.Buy(t, buyer, 1)
		if keyOf(fresh[0]) == keyOf(old[0]) {
			return errors.New("the first key signs")
		}
		return nil
	})
	if got := k.AtVenue(t, old[0]); got != api.Admitted {
		t.Errorf("an old ticket at a venue without a line: %s", got)
	}
	heal()
	testkit.Eventually(t, 60*time.Second, func() error {
		if got := k.AtVenue(t, fresh[0]); got != api.Admitted {
			return fmt.Errorf("a new ticket with the line back: %s", got)
		}
		return nil
	})
	if got := k.AtVenue(t, old[1]); got != api.Admitted {
		t.Errorf("an old ticket with the line back: %s", got)
	}
	stop()
	done.Wait()

	// A stolen key of access tokens.
	stolen := hub.Login("buyer@example.org")
	session := systemtest.Call[api.Tokens](hub, 201, "POST", "/v1/sessions", "", api.Login{Email: "buyer@example.org", Password: systemtest.Password})
	k.withdraw(t, "access", second)
	testkit.Eventually(t, 3*time.Second, func() error { return refuses(k.sites, stolen) })
	if err := refuses([]*systemtest.Site{k.gateway()}, stolen); err != nil {
		t.Errorf("at a gateway that was started since: %v", err)
	}
	for _, s := range k.sites {
		systemtest.Call[any](s, 200, "GET", "/v1/me", buyer, nil) // the first key was not stolen
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		got, err := hub.Send("POST", "/v1/sessions/refresh", "", api.Refresh{RefreshToken: session.RefreshToken})
		if err == nil && got.Status != 200 {
			return fmt.Errorf("%d %s", got.Status, got.Body)
		}
		session.AccessToken = tokenOf(got)
		return err
	})
	testkit.Eventually(t, 20*time.Second, func() error {
		got, err := k.sites[1].Send("GET", "/v1/me", session.AccessToken, nil)
		if err != nil {
			return err
		}
		return got.Is(200, "")
	})
	if k.kidOf(t, session.AccessToken) != first {
		t.Error("the key before does not sign again while the next is too new")
	}

	// A stolen key of tickets.
	k.withdraw(t, "tickets", keyOf(old[2]))
	testkit.Eventually(t, 30*time.Second, func() error { // what the venue decides is refused at the next answer of the hub
		if got := k.AtVenue(t, old[3]); got != api.InvalidCode {
			return fmt.Errorf("a code of the stolen key: %s", got)
		}
		return nil
	})
	again := systemtest.Call[api.List[api.Ticket]](hub, 200, "GET", "/v1/orders/"+old[2].OrderID.String()+"/tickets", buyer, nil).Items
	if keyOf(again[2]) == keyOf(old[2]) {
		t.Fatal("the code is still of the stolen key")
	}
	if got := k.AtVenue(t, again[2]); got != api.Admitted {
		t.Errorf("the ticket with its new code: %s", got)
	}
	if lines := hub.Lines(k.admin, 2, map[string][]string{"act": {"auth.rotate"}}); len(lines) != 2 || lines[1].Object != second {
		t.Errorf("the audit log has %+v", lines)
	}
	lines := hub.Lines(k.admin, 2, map[string][]string{"act": {"auth.withdraw"}})
	if len(lines) != 2 || lines[1].Object != second || lines[0].By.Service != "admin" {
		t.Errorf("the audit log has %+v", lines)
	}
}

// What seals secrets anew has its lines, and no more of them when all are sealed.
func TestRewrapIsAudited(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	keys, err := seal.Parse(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	rewrap := func() int {
		t.Helper()
		n, err := system.Rewrap(t.Context(), "sqlite:"+filepath.Join(cfg.Data, "sql"), keys)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	sealed, said := rewrap(), 0
	if rewrap() != 0 {
		t.Error("what is sealed is sealed again")
	}
	tables := map[string]bool{}
	for _, l := range s.Lines(admin, sealed, url.Values{"act": {"auth.rewrap"}}) { // no table has more than one yet
		n, err := strconv.Atoi(string(l.After["sealed"]))
		if said += n; err != nil || l.Object != keys.ID() || l.By.Service != "admin" {
			t.Errorf("line %+v", l)
		}
		tables[string(l.After["table"])] = true
	}
	if said != sealed || !tables[`"signing_keys"`] || !tables[`"push_keys"`] {
		t.Errorf("%d values are sealed, %d are said, of %v", sealed, said, tables)
	}
}
