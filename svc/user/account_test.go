package user_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user"
)

func TestRegisterRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		_, err := rpc.Call(t.Context(), m.gateway, api.RegisterUser,
			&api.Register{Email: "ADA@EXAMPLE.ORG", Password: password, Name: "Eve"})
		wantCode(t, err, fault.Conflict)
		good := api.Register{Email: "eve@example.org", Password: password, Name: "Eve"}
		for name, change := range map[string]func(*api.Register){
			"email":    func(r *api.Register) { r.Email = "eve" },
			"email ":   func(r *api.Register) { r.Email = "Eve <eve@example.org>" },
			"email  ":  func(r *api.Register) { r.Email = "eve@example.org\r\nBcc: all@example.org" },
			"password": func(r *api.Register) { r.Password = "short" },
			"password ": func(r *api.Register) {
				r.Password = strings.Repeat("x", 257)
			},
			"password  ":     func(r *api.Register) { r.Password = "EVE@example.org" },
			"password   ":    func(r *api.Register) { r.Password = "Password1" },
			"password      ": func(r *api.Register) { r.Password, r.Name = "lovelace1815", "Ada Lovelace" },
			"name":           func(r *api.Register) { r.Name = "  " },
			"name ":          func(r *api.Register) { r.Name = "Eve\r\nBcc: all@example.org" },
			"name  ":         func(r *api.Register) { r.Name = strings.Repeat("é", 201) },
			"name   ":        func(r *api.Register) { r.Name = "Eve \u202egnp.exe" },
			"name    ":       func(r *api.Register) { r.Name = "\u200b\u2060" },
			"password     ":  func(r *api.Register) { r.Password = "🎻🎻🎻" }, // twelve bytes, three characters
			"password    ":   func(r *api.Register) { r.Password = "" },
		} {
			req := good
			change(&req)
			_, err := rpc.Call(t.Context(), m.gateway, api.RegisterUser, &req)
			f := wantCode(t, err, fault.Invalid)
			if len(f.Fields) == 0 || f.Fields[0].Field != strings.TrimSpace(name) {
				t.Errorf("%s: at fault are %v", name, f.Fields)
			}
		}
		must(rpc.Call(t.Context(), m.gateway, api.RegisterUser, &good))(t)
		if n := len(m.events(api.UserRegistered.Subject, 2)); n != 2 {
			t.Errorf("%d events, want 2", n)
		}
	})
}

// A password is the same in whatever way its characters are composed.
func TestPasswordNormalization(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", "pass\u00e9 compos\u00e9")
		m.login("ada@example.org", "passe\u0301 compose\u0301")
	})
}

func TestRegisterIsIdempotent(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		req := api.Register{Email: "ada@example.org", Password: password, Name: "Ada"}
		const n = 6
		var wg sync.WaitGroup
		var answers [n]string
		for i := range n {
			wg.Go(func() {
				reply, err := m.post(api.RegisterUser.Spec, "key-1", req)
				if err != nil || rpc.Fault(reply) != nil {
					t.Errorf("%v %v", err, rpc.Fault(reply))
					return
				}
				answers[i] = string(reply.Data)
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a != answers[0] {
				t.Errorf("answers %s and %s", a, answers[0])
			}
		}
		var before, after string
		hash := func(into *string) {
			if err := m.db.Read().NewRaw("SELECT hash FROM answers").Scan(t.Context(), into); err != nil {
				t.Fatal(err)
			}
		}
		hash(&before)
		req.Password = "another long sentence" // no one may take it for the password of the account
		reply := must(m.post(api.RegisterUser.Spec, "key-1", req))(t)
		wantCode(t, rpc.Fault(reply), fault.Unprocessable)
		if hash(&after); before == "" || before != after {
			t.Errorf("hashes %q and %q", before, after)
		}
		for _, known := range []string{password, `"` + password + `"`, `{"password":"` + password + `"}`} {
			// The stored hash must not tell a guesser which password it was.
			guess := sha256.New()
			rest, err := json.Marshal(map[string]string{"email": req.Email, "name": req.Name})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(guess, "POST /v1/users\n\n%s%s", rest, known)
			if hex.EncodeToString(guess.Sum(nil)) == before {
				t.Error("the stored hash can be guessed at")
			}
		}
		req.Password, req.Name = password, "Eve"
		reply = must(m.post(api.RegisterUser.Spec, "key-1", req))(t)
		wantCode(t, rpc.Fault(reply), fault.Unprocessable)
	})
}

func TestUpdateMe(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("bob@example.org", password)
		ada := m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		patch := func(req api.UpdateProfile) (*api.User, error) {
			return rpc.Call(m.as(tokens), m.gateway, api.UpdateMe, &req)
		}

		for field, p := range map[string]api.Profile{
			"profile.phone":      {Phone: "030 123456"},
			"profile.language":   {Language: "klingonese"},
			"profile.timezone":   {Timezone: "../../etc/passwd"},
			"profile.country":    {Country: "UK"},
			"profile.birth_year": {BirthYear: 2031},
			"profile.city":       {City: "Ber\nlin"},
		} {
			_, err := patch(api.UpdateProfile{Profile: codec.To(p)})
			if f := wantCode(t, err, fault.Invalid); len(f.Fields) != 1 || f.Fields[0].Field != field {
				t.Errorf("%s: %v", field, f.Fields)
			}
		}
		want := api.Profile{Phone: "+4930123456", Language: "pt-BR", Timezone: "Europe/Berlin", BirthYear: 1990,
			City: "Berlin", Country: "DE", ShareDemographics: true}
		got := must(patch(api.UpdateProfile{IfMatch: `"` + ada.ETag() + `"`, Name: ptr("Ada L."),
			Profile: codec.To(want)}))(t)
		if got.Profile != want || got.Name != "Ada L." || got.Revision != 2 {
			t.Errorf("got %+v", got)
		}
		_, err := patch(api.UpdateProfile{IfMatch: `"` + ada.ETag() + `"`, Name: ptr("Eve")})
		wantCode(t, err, fault.Precondition)
		if same := must(patch(api.UpdateProfile{}))(t); same.Revision != 2 {
			t.Errorf("no change makes revision %d", same.Revision)
		}

		if cleared := must(patch(api.UpdateProfile{Profile: codec.Clear[api.Profile]()}))(t); cleared.Profile != (api.Profile{}) || cleared.Name != "Ada L." {
			t.Errorf("null leaves %+v", cleared)
		}

		_, err = patch(api.UpdateProfile{Email: ptr("lovelace@example.org")})
		wantCode(t, err, fault.Invalid)
		_, err = patch(api.UpdateProfile{Email: ptr("lovelace@example.org"), CurrentPassword: "wrong password"})
		wantCode(t, err, fault.Forbidden)
		_, err = patch(api.UpdateProfile{Email: ptr("BOB@example.org"), CurrentPassword: password})
		wantCode(t, err, fault.Conflict)
		moved := must(patch(api.UpdateProfile{Email: ptr("lovelace@example.org"), CurrentPassword: password}))(t)
		if moved.Email != "ada@example.org" || moved.PendingEmail != "lovelace@example.org" {
			t.Errorf("got %+v", moved)
		}
		m.login("ada@example.org", password) // until the new address is proven
		minted := must(m.mintConfirmation(m.lastConfirmation(1).ConfirmationID))(t)
		if err := m.prove(minted.Token); err != nil {
			t.Fatal(err)
		}
		if moved = must(patch(api.UpdateProfile{}))(t); moved.Email != "lovelace@example.org" || moved.PendingEmail != "" {
			t.Errorf("got %+v", moved)
		}
		_, err = m.tryLogin("192.0.2.1", "ada@example.org", password)
		wantCode(t, err, fault.Unauthenticated)
		m.login("lovelace@example.org", password)
		m.events(api.UserUpdated.Subject, 2)
	})
}

func TestChangePassword(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		here, there := m.login("ada@example.org", password), m.login("ada@example.org", password)
		change := func(current, next string) error {
			_, err := rpc.Call(m.as(here), m.gateway, api.ChangeMyPassword,
				&api.ChangePassword{CurrentPassword: current, NewPassword: next})
			return err
		}
		wantCode(t, change("wrong password", "another long sentence"), fault.Forbidden)
		wantCode(t, change(password, "short"), fault.Invalid)
		if err := change(password, "another long sentence"); err != nil {
			t.Fatal(err)
		}
		must(m.refresh(here.RefreshToken))(t)
		_, err := m.refresh(there.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.tryLogin("192.0.2.1", "ada@example.org", password)
		wantCode(t, err, fault.Unauthenticated)
		m.login("ada@example.org", "another long sentence")
		m.events(api.PasswordChanged.Subject, 1)
	})
}

// neighbours are the services that the user service asks about a person.
type neighbours struct {
	mu sync.Mutex
	has
}

// has is what a person has.
type has struct {
	orders, tickets int
	running         []api.RunningEvent
}

func (n *neighbours) get() has {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.has
}

func (n *neighbours) set(h has) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.has = h
}

func (n *neighbours) serve(t *testing.T, m *harness) {
	t.Helper()
	const rows = 100
	srv := func(name string) *rpc.Server {
		return rpc.NewServer(m.nats.Connect(),
			rpc.ServerConfig{Service: name, Log: testkit.Log(t), Registry: observe.NewRegistry()})
	}
	ticketing := srv("ticketing")
	rpc.Handle(ticketing, api.ExportPerson, func(_ context.Context, req *api.PersonRef) (*api.PersonRecords, error) {
		n := n.get()
		cursor, inTickets := strings.CutPrefix(req.Cursor, "t.")
		from, _ := strconv.Atoi(cursor)
		out := &api.PersonRecords{Orders: []api.Order{}, Tickets: []api.Ticket{}}
		if strings.HasPrefix(req.Cursor, "a.") {
			out.Answers = []api.PersonAnswer{{OrderID: ids.Derive[ids.OrderKind]("o"), Question: "Food", Answer: "All"}}
			return out, nil
		}
		if inTickets {
			for i := from; i < min(from+rows, n.tickets); i++ {
				out.Tickets = append(out.Tickets,
					api.Ticket{ID: ids.Derive[ids.TicketKind]("t"), EventID: ids.Derive[ids.EventKind]("e"),
						TicketTypeID: ids.Derive[ids.TicketTypeKind]("y"),
						OrderID:      ids.Derive[ids.OrderKind]("o"), OwnerID: req.UserID, Revision: int64(i),
						EventName: strings.Repeat("n", 400)})
			}
			if out.NextCursor = "a."; from+rows < n.tickets {
				out.NextCursor = "t." + strconv.Itoa(from+rows)
			}
			return out, nil
		}
		for i := from; i < min(from+rows, n.orders); i++ {
			out.Orders = append(out.Orders,
				api.Order{ID: ids.Derive[ids.OrderKind]("o"), EventID: ids.Derive[ids.EventKind]("e"),
					UserID: req.UserID, Revision: int64(i)})
		}
		if out.NextCursor = "t."; from+rows < n.orders {
			out.NextCursor = strconv.Itoa(from + rows)
		}
		return out, nil
	})
	event := srv("event")
	rpc.Handle(event, api.ExportEvents,
		func(_ context.Context, req *api.PersonRef) (*api.List[api.PersonEvent], error) {
			return &api.List[api.PersonEvent]{Items: []api.PersonEvent{{Role: api.RoleOwner,
				Event: api.Event{ID: ids.Derive[ids.EventKind]("e"), OrganizerID: api.OrganizerOf(req.UserID), Name: "Gala"}}}}, nil
		})
	rpc.Handle(event, api.GetRunningEvents, func(context.Context, *api.PersonRef) (*api.List[api.RunningEvent], error) {
		return &api.List[api.RunningEvent]{Items: n.get().running}, nil
	})
	payment := srv("payment")
	rpc.Handle(payment, api.ExportPayments,
		func(_ context.Context, req *api.PersonRef) (*api.List[api.Payment], error) {
			return &api.List[api.Payment]{Items: []api.Payment{{ID: ids.Derive[ids.PaymentKind]("p"),
				OrderID: ids.Derive[ids.OrderKind]("o"), UserID: req.UserID}}}, nil
		})
	notification := srv("notification")
	rpc.Handle(notification, api.ExportMessages,
		func(_ context.Context, req *api.PersonRef) (*api.List[api.Notification], error) {
			if req.Cursor == "" {
				return &api.List[api.Notification]{Items: []api.Notification{{ID: ids.Derive[ids.NotificationKind]("2"),
					Title: "second"}}, NextCursor: "more"}, nil
			}
			return &api.List[api.Notification]{Items: []api.Notification{{ID: ids.Derive[ids.NotificationKind]("1"),
				Title: "first"}}}, nil
		})
	rpc.Handle(notification, api.ExportChoices, func(context.Context, *api.PersonRef) (*api.PersonChoices, error) {
		return &api.PersonChoices{Preferences: api.Preferences{Kinds: []api.Preference{{Kind: api.AboutOrders}}},
			PushSubscriptions: []api.PushSubscription{{ID: ids.Derive[ids.PushSubscriptionKind]("d"),
				Endpoint: "https://push.example.org/1"}}}, nil
	})
	for _, s := range []*rpc.Server{ticketing, event, payment, notification} {
		testkit.Serve(t, s)
	}
}

// export joins the parts of an export, as the gateway does.
func (m *harness) export(tokens *api.Tokens) (*api.Export, error) {
	m.t.Helper()
	var all []byte
	for next := ""; ; {
		h := nats.Header{}
		if next != "" {
			h[rpc.HeaderPart] = []string{next}
		}
		reply, err := m.gateway.Forward(m.as(tokens), api.ExportMe.Spec, h, nil)
		if err != nil {
			return nil, err
		}
		if f := rpc.Fault(reply); f != nil {
			return nil, f
		}
		if len(reply.Data) > 900<<10 {
			m.t.Errorf("a part has %d bytes", len(reply.Data))
		}
		all = append(all, reply.Data...)
		if next = reply.Header.Get(rpc.HeaderNext); next == "" {
			break
		}
	}
	out := new(api.Export)
	if err := json.Unmarshal(all, out); err != nil {
		m.t.Fatalf("%v in %.2000s", err, all)
	}
	return out, nil
}

// An export is whole, however much there is.
func TestExport(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		_, err := m.export(tokens)
		wantCode(t, err, fault.Unavailable)
		n := &neighbours{}
		n.serve(t, m)
		for _, size := range [][2]int{{0, 0}, {1, 0}, {100, 100}, {0, 101}, {10_000, 12_345}} {
			n.set(has{orders: size[0], tickets: size[1]})
			out := must(m.export(tokens))(t)
			if out.User.Email != "ada@example.org" || !out.ExportedAt.Equal(m.clock.Now()) || len(out.Sessions) != 1 ||
				len(out.Events) != 1 || len(out.Payments) != 1 || len(out.Answers) != 1 ||
				len(out.Notifications) != 2 || len(out.Preferences) != 1 || len(out.PushSubscriptions) != 1 {
				t.Errorf("export %+v", out)
			}
			for i, o := range out.Orders {
				if o.UserID != out.User.ID || o.Revision != int64(i) {
					t.Fatalf("order %d is %+v", i, o)
				}
			}
			for i, o := range out.Tickets {
				if o.OwnerID != out.User.ID || o.Revision != int64(i) {
					t.Fatalf("ticket %d is %+v", i, o)
				}
			}
			if len(out.Orders) != size[0] || len(out.Tickets) != size[1] {
				t.Errorf("%d orders and %d tickets, want %v", len(out.Orders), len(out.Tickets), size)
			}
		}
		for _, wild := range []string{"x", "1.true.true", "-1.true.true.", "9.false.false."} {
			reply := must(m.gateway.Forward(m.as(tokens), api.ExportMe.Spec, nats.Header{rpc.HeaderPart: {wild}},
				nil))(t)
			if f := rpc.Fault(reply); f != nil && f.Code != fault.Invalid {
				t.Errorf("part %q: %v", wild, f)
			}
		}
	})
}

// Who still organizes events cannot leave them behind.
func TestOrganizerStays(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		m.register("ada@example.org", password)
		tokens := m.login("ada@example.org", password)
		n := &neighbours{}
		n.set(has{running: []api.RunningEvent{{ID: ids.New[ids.EventKind](m.clock.Now()), Name: "Gala"}}})
		n.serve(t, m)
		_, err := rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: password})
		if f := wantCode(t, err, fault.Conflict); !strings.Contains(f.Detail, "Gala (evt_") {
			t.Errorf("the fault says %q", f.Detail)
		}
		must(rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{}))(t)
		n.set(has{})
		must(rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: password}))(t)
	})
}

func TestDelete(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		if reply := must(m.post(api.RegisterUser.Spec, "key-1",
			api.Register{Email: "ada@example.org", Password: password,
				Name: "Ada Lovelace"}))(t); rpc.Fault(reply) != nil {
			t.Fatal(rpc.Fault(reply))
		}
		tokens := m.login("ada@example.org", password)
		m.login("ada@example.org", password)
		me := must(rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{}))(t)
		_, err := rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: password})
		wantCode(t, err, fault.Unavailable) // whether events need their organizer is not known
		(&neighbours{}).serve(t, m)
		_, err = rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: "wrong password"})
		wantCode(t, err, fault.Forbidden)
		must(rpc.Call(m.as(tokens), m.gateway, api.DeleteMe, &api.DeleteAccount{Password: password}))(t)
		_, err = rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.refresh(tokens.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		if all := m.dump(); strings.Contains(all, "ada@") || strings.Contains(all, "Lovelace") {
			t.Errorf("something is left:\n%s", all)
		}
		var e api.UserEvent
		if err := json.Unmarshal([]byte(m.events(api.UserDeleted.Subject, 1)[0]), &e); err != nil || e.UserID != me.ID {
			t.Errorf("event %+v, %v", e, err)
		}
		if again := m.register("ada@example.org", password); again.ID == me.ID {
			t.Error("the account is the old one")
		}
	})
}

func TestAdmins(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		(&neighbours{}).serve(t, m)
		tokens, root := m.admin()
		ctx := m.as(tokens)
		if created, generated, err := m.service.EnsureAdmin(t.Context(), "second@example.org", ""); created ||
			generated != "" || err != nil {
			t.Errorf("a second first administrator: %v %q %v", created, generated, err)
		}
		ada := m.register("ada@example.org", password)
		visitor := m.login("ada@example.org", password)
		_, err := rpc.Call(m.as(visitor), m.gateway, api.GetUser, &api.UserRef{ID: root.ID})
		wantCode(t, err, fault.Forbidden)
		_, err = rpc.Call(ctx, m.gateway, api.GetUser, &api.UserRef{ID: newUserID()})
		wantCode(t, err, fault.NotFound)

		// The last administrator stays.
		_, err = rpc.Call(ctx, m.gateway, api.SetUserRoles, &api.SetRoles{ID: root.ID, Roles: []string{}})
		wantCode(t, err, fault.Conflict)
		_, err = rpc.Call(ctx, m.gateway, api.DeleteMe, &api.DeleteAccount{Password: "the first of them"})
		wantCode(t, err, fault.Conflict)
		_, err = rpc.Call(ctx, m.gateway, api.SetUserRoles, &api.SetRoles{ID: ada.ID, Roles: []string{"owner"}})
		wantCode(t, err, fault.Invalid)
		_, err = rpc.Call(ctx, m.gateway, api.SetUserRoles, &api.SetRoles{ID: ada.ID})
		wantCode(t, err, fault.Invalid)

		if got := must(rpc.Call(ctx, m.gateway, api.SetUserRoles,
			&api.SetRoles{ID: ada.ID, Roles: []string{"admin"}}))(t); len(got.Roles) != 1 {
			t.Errorf("roles %v", got.Roles)
		}
		promoted := must(m.refresh(visitor.RefreshToken))(t) // the new token knows
		must(rpc.Call(m.as(promoted), m.gateway, api.GetUser, &api.UserRef{ID: root.ID}))(t)

		// Two administrators who demote each other: one stays, whatever the order.
		var wg sync.WaitGroup
		var errs [2]error
		for i, job := range []struct {
			ctx context.Context
			id  ids.User
		}{{ctx, ada.ID}, {m.as(promoted), root.ID}} {
			wg.Go(func() {
				_, errs[i] = rpc.Call(job.ctx, m.gateway, api.SetUserRoles,
					&api.SetRoles{ID: job.id, Roles: []string{}})
			})
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("%v and %v, want one success", errs[0], errs[1])
		}
	})
}

// Who is locked has no session any more and gets none, whatever the password, until an administrator unlocks the account.
func TestLock(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		admin, root := m.admin()
		eve := m.register("eve@example.org", password)
		tokens := m.login("eve@example.org", password)
		lock := func(id ids.User) error {
			_, err := rpc.Call(m.as(admin), m.gateway, api.LockUser, &api.UserRef{ID: id})
			return err
		}
		_, err := rpc.Call(m.as(tokens), m.gateway, api.LockUser, &api.UserRef{ID: root.ID})
		wantCode(t, err, fault.Forbidden)
		wantCode(t, lock(root.ID), fault.Conflict)
		wantCode(t, lock(newUserID()), fault.NotFound)
		for range 2 { // the second time changes nothing
			if err := lock(eve.ID); err != nil {
				t.Fatal(err)
			}
		}
		_, err = rpc.Call(m.as(tokens), m.gateway, api.GetMe, &rpc.None{})
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.refresh(tokens.RefreshToken)
		wantCode(t, err, fault.Unauthenticated)
		_, err = m.tryLogin("192.0.2.1", "eve@example.org", password)
		wantCode(t, err, fault.Forbidden)
		_, err = m.tryLogin("192.0.2.1", "eve@example.org", "a wrong one") // a stranger learns nothing
		wantCode(t, err, fault.Unauthenticated)
		_, err = rpc.Call(t.Context(), rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "venue"}),
			line.CheckUserPassword, &line.CheckPassword{Email: "eve@example.org", Password: password})
		wantCode(t, err, fault.Forbidden)
		_, err = rpc.Call(m.as(admin), m.gateway, api.SetUserRoles, &api.SetRoles{ID: eve.ID, Roles: []string{"admin"}})
		wantCode(t, err, fault.Conflict)
		found := must(rpc.Call(m.as(admin), m.gateway, api.ListUsers, &api.ListUsersQuery{Q: "eve@"}))(t)
		if len(found.Items) != 1 || !found.Items[0].Locked {
			t.Errorf("found %+v", found.Items)
		}
		if got := must(rpc.Call(m.as(admin), m.gateway, api.UnlockUser, &api.UserRef{ID: eve.ID}))(t); got.Locked {
			t.Error("it is still locked")
		}
		m.login("eve@example.org", password)
	})
}

// Administrators see where a person is signed in, and sign them out everywhere.
func TestSessionsOfOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		admin, root := m.admin()
		eve := m.register("eve@example.org", password)
		tokens := m.login("eve@example.org", password)
		m.login("eve@example.org", password)
		list := func(who *api.Tokens, id ids.User) (*api.List[api.SessionInfo], error) {
			return rpc.Call(m.as(who), m.gateway, api.ListUserSessions, &api.UserSessionQuery{ID: id})
		}
		end := func(who *api.Tokens, id ids.User) error {
			_, err := rpc.Call(m.as(who), m.gateway, api.EndUserSessions, &api.UserRef{ID: id})
			return err
		}
		_, err := list(tokens, eve.ID)
		wantCode(t, err, fault.Forbidden)
		wantCode(t, end(tokens, root.ID), fault.Forbidden)
		wantCode(t, end(admin, "usr_00000000000000000000000000"), fault.NotFound)
		_, err = list(admin, "usr_00000000000000000000000000")
		wantCode(t, err, fault.NotFound)
		if got := must(list(admin, eve.ID))(t).Items; len(got) != 2 || got[0].Current || got[0].CreatedAt.IsZero() {
			t.Errorf("sessions %+v", got)
		}
		if err := end(admin, eve.ID); err != nil {
			t.Fatal(err)
		}
		if got := must(list(admin, eve.ID))(t).Items; len(got) != 0 {
			t.Errorf("sessions left %+v", got)
		}
		_, err = rpc.Call(m.as(tokens), m.gateway, api.ListSessions, &api.SessionQuery{})
		wantCode(t, err, fault.Unauthenticated)
		if got := must(list(admin, root.ID))(t).Items; len(got) == 0 {
			t.Error("the administrator is signed out, too")
		}
		m.login("eve@example.org", password)
	})
}

func TestEnsureAdmin(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		if _, _, err := m.service.EnsureAdmin(t.Context(), "root@example.org", "short"); !fault.Is(err, fault.Invalid) {
			t.Errorf("a bad password: %v", err)
		}
		squatter := m.register("root@example.org", password)
		if created, _, err := m.service.EnsureAdmin(t.Context(), "root@example.org", ""); created ||
			!fault.Is(err, fault.Conflict) {
			t.Errorf("with the address of a visitor: %v, %v", created, err)
		}
		if len(m.login("root@example.org", password).AccessToken) == 0 || squatter.Roles == nil {
			t.Error("the visitor's account changed")
		}
		var wg sync.WaitGroup
		var passwords [4]string
		for i := range passwords { // several instances start for the first time together
			wg.Go(func() {
				created, generated, err := m.service.EnsureAdmin(t.Context(), "", "")
				if err != nil || created != (generated != "") {
					t.Errorf("%v %q %v", created, generated, err)
				}
				passwords[i] = generated
			})
		}
		wg.Wait()
		all := strings.Join(passwords[:], "")
		if len(all) < 20 || strings.Count(strings.Join(passwords[:], " "), " ") != 3 {
			t.Errorf("passwords %q", passwords)
		}
		me := must(rpc.Call(m.as(m.login(user.DefaultAdminEmail, all)), m.gateway, api.GetMe, &rpc.None{}))(t)
		if len(me.Roles) != 1 || me.Roles[0] != "admin" {
			t.Errorf("roles %v", me.Roles)
		}
	})
}

func TestListUsers(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		tokens, _ := m.admin()
		for _, name := range []string{"anna", "berta", "b_rta", "clara"} {
			m.clock.Advance(time.Second)
			m.register(name+"@example.org", password)
		}
		list := func(req api.ListUsersQuery) (*api.List[api.User], error) {
			return rpc.Call(m.as(tokens), m.gateway, api.ListUsers, &req)
		}
		var seen []string
		req := api.ListUsersQuery{Page: api.Page{Limit: 2}}
		for {
			page := must(list(req))(t)
			for _, u := range page.Items {
				seen = append(seen, u.Email)
			}
			if req.Cursor = page.NextCursor; req.Cursor == "" {
				break
			}
		}
		if want := "clara@example.org b_rta@example.org berta@example.org anna@example.org root@example.org"; strings.Join(seen, " ") != want {
			t.Errorf("got %v, want %s", seen, want)
		}
		for q, want := range map[string]int{"B_RTA": 1, "ERTA": 1, "example.org": 5, "%": 0, `\`: 0, "ada": 4} {
			if got := must(list(api.ListUsersQuery{Q: q}))(t); len(got.Items) != want {
				t.Errorf("%q finds %d, want %d", q, len(got.Items), want)
			}
		}
		anna := must(list(api.ListUsersQuery{Q: "anna"}))(t).Items[0]
		if got := must(list(api.ListUsersQuery{Q: anna.ID.String()}))(t).Items; len(got) != 1 || got[0].ID != anna.ID {
			t.Errorf("her id finds %+v", got)
		}
		for _, bad := range []api.ListUsersQuery{{Page: api.Page{Limit: 201}}, {Page: api.Page{Limit: -1}},
			{Page: api.Page{Cursor: "x"}},
			{Page: api.Page{Cursor: "Jw"}}, {Q: strings.Repeat("x", 300)}} {
			_, err := list(bad)
			wantCode(t, err, fault.Invalid)
		}
	})
}

func TestInternalEndpoints(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		ada := m.register("ada@example.org", password)
		ticketing := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "ticketing"})
		found := must(rpc.Call(t.Context(), ticketing, api.FindUserByEmail, &api.FindUser{Email: "ADA@example.org"}))(t)
		if found.ID != ada.ID || found.Name != "Ada" {
			t.Errorf("found %+v", found)
		}
		_, err := rpc.Call(t.Context(), ticketing, api.FindUserByEmail, &api.FindUser{Email: "eve@example.org"})
		wantCode(t, err, fault.NotFound)
		_, err = rpc.Call(t.Context(), m.gateway, api.FindUserByEmail, &api.FindUser{Email: "ada@example.org"})
		wantCode(t, err, fault.Forbidden)
		_, err = rpc.Call(t.Context(), ticketing, api.MintResetToken, &api.MintReset{ResetID: "rst_x"})
		wantCode(t, err, fault.Forbidden)
		if c := must(rpc.Call(t.Context(), ticketing, api.GetContact,
			&api.GetContactOf{ID: ada.ID}))(t); c.Email != "ada@example.org" {
			t.Errorf("contact %+v", c)
		}
	})
}

func ptr[T any](v T) *T { return &v }
