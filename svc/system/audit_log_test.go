package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/pquerna/otp/totp"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/audit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// unaudited says why an endpoint that changes something is not in the audit log.
func unaudited() map[string]string {
	const own = "what people do with their own account; that of an administrator has its lines"
	const buyer = "what buyers do with their own orders and tickets: the order, its tickets and the ledger say it"
	const provider = "callbacks are kept, the ledger has their money, and disputes have their lines"
	const gate = "each scan is kept"
	return map[string]string{
		"user.register": own, "user.login": own, "user.refresh": own, "user.logout": own, "user.update_me": own,
		"user.delete_me": own, "user.change_password": own, "user.request_reset": own, "user.confirm_reset": own,
		"user.request_confirmation": own, "user.confirm_email": own,
		"user.request_phone_confirmation": own, "user.confirm_phone": own, "user.create_live_ticket": own,
		"user.end_session": own, "user.end_sessions": own,
		"user.login_factor": own, "user.prove": own, "user.add_factor": own, "user.confirm_factor": own,
		"user.delete_factor": own, "user.renew_recovery_codes": own,
		"user.passkey_options": own, "user.login_passkey": own, "user.new_passkey_options": own,
		"user.start_sign_in": own, "user.finish_sign_in": own, "user.start_link": own, "user.finish_link": own,
		"user.delete_identity": own, "user.provider_logout": own,
		"user.add_passkey": own, "user.rename_passkey": own, "user.delete_passkey": own,
		"notification.mark_read": own, "notification.set_preferences": own, "notification.subscribe": own,
		"notification.unsubscribe_push": own, "notification.unsubscribe": own,
		"ticketing.create_order": buyer, "ticketing.cancel_order": buyer, "ticketing.create_cancellation": buyer, "ticketing.create_exchange": buyer,
		"ticketing.mail_order_tickets": "it changes nothing: a mail comes once more", "ticketing.transfer_ticket": buyer,
		"ticketing.update_ticket": buyer, "payment.create": buyer,
		"ticketing.set_billing": buyer, "ticketing.create_invoice": "invoices and credit notes are kept as they are for ever",
		"ticketing.renew_order_access": buyer, "ticketing.end_order_access": buyer, "ticketing.update_order": buyer,
		"ticketing.forget_order": buyer, "ticketing.request_order_links": buyer, "ticketing.claim_orders": buyer,
		"ticketing.withdraw_transfer": buyer, "ticketing.accept_ticket_offer": buyer, "ticketing.refuse_ticket_offer": buyer,
		"payment.callback": provider, "payment.sandbox_decide": provider,
		"notification.preview_announcement": "nothing is changed",
		"ticketing.admit":                   gate, "ticketing.exit": gate, "venue.scan_with_pass": gate,
	}
}

// Every endpoint that changes something is audited, or it is said why not.
func TestEveryChangeIsAuditedOrExempt(t *testing.T) {
	exempt := unaudited()
	for _, d := range api.All() {
		name := d.Service + "." + d.Name
		_, excused := exempt[name]
		delete(exempt, name)
		switch {
		case d.Path == "" || d.Method == "GET":
		case d.Audited == excused:
			t.Errorf("%s: audited: %t, exempt: %t", name, d.Audited, excused)
		case excused && d.Access == rpc.Admin:
			t.Errorf("%s is of administrators, and exempt", name)
		}
	}
	for name := range exempt {
		t.Errorf("%s is exempt, and no endpoint", name)
	}
}

// before brings a world to where an act can be done, for those that cannot be done at once.
func (w *world) before(d rpc.Descriptor, owner, buyer string) {
	w.s.T.Helper()
	event := "/v1/events/" + w.event.ID.String()
	switch d.Subject() {
	case api.CreateStaffExchange.Subject():
		w.event = systemtest.Call[api.Event](w.s, 201, "POST", event+"/ticket-types", owner,
			api.NewTicketType{Name: "More", Price: api.Money{Amount: 1, Currency: "EUR"}, Quantity: 1})
	case api.EndAuthority.Subject():
		systemtest.Call[any](w.s, 200, "PUT", event+"/authority", owner, api.NewAuthority{VenueID: w.venue.ID})
	case api.UndoAdmission.Subject():
		got := systemtest.Call[api.AdmissionResult](w.s, 200, "POST", event+"/admissions", owner, map[string]string{"code": w.ticket.Code})
		if got.Result != api.Admitted {
			w.s.T.Fatalf("admission: %+v", got)
		}
		w.scan = systemtest.Call[api.List[api.Scan]](w.s, 200, "GET", event+"/admissions", owner, nil).Items[0].ID
	case api.DeleteEventImage.Subject():
		systemtest.Call[any](w.s, 200, "PUT", event+"/image?alt=A+stage", owner, systemtest.APicture())
	case api.DeleteLogo.Subject():
		systemtest.Call[any](w.s, 200, "PUT", w.organizer()+"/logo", owner, systemtest.APicture())
	case api.DeleteInvitation.Subject():
		systemtest.Call[any](w.s, 201, "POST", event+"/team", owner, api.Invite{Email: "new@example.org", Role: api.RoleDoor})
	case api.ResizeLease.Subject():
		w.lease = systemtest.Call[api.Lease](w.s, 201, "POST", event+"/leases", owner, api.NewLease{VenueID: w.venue.ID,
			TicketTypeID: w.event.TicketTypes[0].ID, Quantity: 2})
	}
}

// dueByHand returns a refund that is to be paid out by hand.
func (w *world) dueByHand(owner string) ids.Refund {
	w.s.T.Helper()
	payment := "/v1/payments/" + w.manual.ID.String()
	systemtest.Call[api.Payment](w.s, 200, "POST", payment+"/mark-paid", owner, api.MarkPaid{Amount: api.Money{Amount: 1000, Currency: "EUR"}})
	var due api.Refund
	testkit.Eventually(w.s.T, 20*time.Second, func() error { // once the order is paid
		got, err := w.s.Send("POST", payment+"/refunds", owner, api.NewRefund{})
		if err != nil || got.Status != 201 {
			return fmt.Errorf("%d %s %v", got.Status, got.Body, err)
		}
		return json.Unmarshal(got.Body, &due)
	})
	return due.ID
}

const (
	organizers  = "see TestChangesOfOrganizersAreAudited of the event service"
	keysOfThem  = "see TestKeys of the event service"
	hooksOfThem = "see TestChangesAreAudited of the webhooks"
	payouts     = "see TestPayouts of the payment service"
	providers   = "see TestIdentityProviders of the user service"
)

// elsewhere are the audited acts that are not done here, and why.
var elsewhere = map[string]string{
	"payment.repeat_refund":  "needs a refund that fails after it had succeeded: see TestWhatHappensAfterwards of the payment service",
	"payment.create_payout":  payouts,
	"payment.return_payout":  payouts,
	"venue.pair":             "is done by a device: see TestPairing of the venue service",
	"venue.answer_with_pass": "is done by a device: see TestDeviceAnswersAtTheDoor of ticketing",
	"config.rollback":        "see TestSettingsAreAudited",

	"user.create_identity_provider": providers,
	"user.update_identity_provider": providers,
	"user.delete_identity_provider": providers,

	"event.create_organizer":      organizers,
	"event.update_organizer":      organizers,
	"event.set_member":            organizers,
	"event.delete_member":         organizers,
	"event.invite_member":         organizers,
	"event.uninvite_member":       organizers,
	"event.transfer_organizer":    organizers,
	"event.set_role":              organizers,
	"event.delete_role":           organizers,
	"event.create_api_key":        keysOfThem,
	"notification.create_webhook": hooksOfThem,
	"notification.update_webhook": hooksOfThem,
	"notification.delete_webhook": hooksOfThem,
	"notification.rotate_webhook": hooksOfThem,
	"notification.replay_webhook": hooksOfThem,
	"event.update_api_key":        keysOfThem,
	"event.delete_api_key":        keysOfThem,
	"event.rotate_api_key":        keysOfThem,
}

// Every audited act is done once, and has its line: who, from where, what and to what.
func TestEveryActHasItsLine(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	cfg.Sandbox = true
	s, sys, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, api.ManualEnabled.Key(), "true")
	people := cast(s, admin, cfg)
	owner, buyer := people[4], people[3]
	for _, d := range api.All() {
		name := d.Service + "." + d.Name
		if !d.Audited || d.Path == "" || elsewhere[name] != "" {
			continue
		}
		w := newWorld(s, people, admin, &d)
		w.before(d, owner.token, buyer.token)
		p, e := owner, w.event
		path, body := w.path(d, e, p), w.body(d)
		switch d.Subject() {
		case api.CreateEvent.Subject():
			body = api.NewEvent{Name: "New", StartsAt: e.StartsAt, EndsAt: e.EndsAt, Timezone: "UTC", Location: e.Location,
				TicketTypes: []api.NewTicketType{{Name: "T", Price: api.Money{Currency: "EUR"}, Quantity: 1}}}
		case api.PublishEvent.Subject(), api.DeleteEvent.Subject():
			path = w.path(d, w.draft, p)
		case api.DeleteTicketType.Subject():
			more := systemtest.Call[api.Event](s, 201, "POST", "/v1/events/"+e.ID.String()+"/ticket-types", p.token,
				api.NewTicketType{Name: "More", Price: api.Money{Amount: 1, Currency: "EUR"}, Quantity: 1})
			path = "/v1/events/" + e.ID.String() + "/ticket-types/" + more.TicketTypes[1].ID.String()
		case api.CreateStaffExchange.Subject():
			path = "/v1/events/" + e.ID.String() + "/orders/" + w.paid.ID.String() + "/exchanges"
		case api.PutOrganizer.Subject():
			body = api.SetOrganizer{UserID: people[5].id}
		case api.MarkRefundPaid.Subject():
			path = "/v1/payments/" + w.manual.ID.String() + "/refunds/" + w.dueByHand(p.token).String() + "/mark-paid"
		case api.MarkPaymentPaid.Subject():
			path = "/v1/payments/" + w.manual.ID.String() + "/mark-paid"
		case api.ReleaseEdge.Subject():
			bindEdge(t, cfg, w.venue.ID)
		case api.CreateVenue.Subject():
			body = api.NewVenue{Name: "Hall", Timezone: "UTC"}
		case api.ReverseSale.Subject():
			sold := systemtest.Call[api.Sale](s, 201, "POST", "/v1/box-office/sales", p.token, api.NewSale{EventID: e.ID,
				Items:   []api.NewOrderItem{{TicketTypeID: e.TicketTypes[0].ID, Quantity: 1}},
				Payment: api.BoxOfficePayment{Method: "cash"}})
			path, body = "/v1/box-office/sales/"+sold.OrderID.String()+"/reversal", map[string]any{}
		case api.CreateSale.Subject():
			body = api.NewSale{EventID: e.ID, Items: []api.NewOrderItem{{TicketTypeID: e.TicketTypes[0].ID, Quantity: 1}},
				Payment: api.BoxOfficePayment{Method: "cash"}}
		}
		if d.Access == rpc.Admin {
			p = people[1]
			p.id = systemtest.Call[api.User](s, 200, "GET", "/v1/me", admin, nil).ID
			switch d.Subject() {
			case api.SetUserRoles.Subject():
				path, body = "/v1/users/"+people[2].id.String()+"/roles", api.SetRoles{Roles: []string{"admin"}}
			case api.EndUserSessions.Subject():
				path = "/v1/users/" + people[5].id.String() + "/sessions"
			case api.LockUser.Subject(), api.UnlockUser.Subject():
				path = "/v1/users/" + people[5].id.String() + "/lock"
			case api.ResetSecondFactors.Subject():
				u, token := s.Join("enrolled@example.org")
				enrol(s, token)
				path = "/v1/users/" + u.ID.String() + "/second-factors"
			case api.ReplayDeadLetter.Subject():
				path = "/v1/dead-letters/" + s.DeadLetter(admin, systemtest.Operator(t, "user", sys.NATSURL(), cfg.Data+"/creds")) + "/replay"
			case api.DropDeadLetter.Subject():
				path = "/v1/dead-letters/" + s.DeadLetter(admin, systemtest.Operator(t, "user", sys.NATSURL(), cfg.Data+"/creds"))
			case api.PutSetting.Subject(), api.DeleteSetting.Subject():
				path, body = "/v1/config/"+api.DoorsClose.Key(), map[string]string{"value": "11h"}
				if d.Method == "DELETE" {
					body = nil
				}
			}
		}
		var got systemtest.Answer
		testkit.Eventually(t, 20*time.Second, func() (err error) { // the refund may not have reached its provider yet
			got, err = s.Send(d.Method, path, p.token, body, "User-Agent", "Test/1.0")
			if err == nil && got.Status >= 300 {
				err = fmt.Errorf("%s %s: %d %s", d.Method, path, got.Status, got.Body)
			}
			return err
		})
		var line *api.AuditEntry
		testkit.Eventually(t, 20*time.Second, func() error {
			for _, l := range s.Lines(admin, 0, url.Values{"act": {name}}) {
				if l.By.RequestID == got.Header.Get("X-Request-Id") {
					line = &l
					return nil
				}
			}
			return fmt.Errorf("%s has no line", name)
		})
		if line.By.UserID != p.id || line.By.SessionID == "" || line.By.Address == "" || line.Object == "" ||
			line.By.Device != "Test/1.0" && d.Subject() != api.CreateRefund.Subject() {
			t.Errorf("%s: %+v", name, line)
		}
		if strings.HasPrefix(d.Path, "/v1/events/") && line.EventID == "" {
			t.Errorf("%s: which event? %+v", name, line)
		}
	}
	canary(s, admin)
	proveAuditLog(s, cfg.Data, systemtest.Ops(t, sys.NATSURL(), cfg.Data+"/creds"))
}

// enrol gives a person an authenticator app.
func enrol(s *systemtest.Site, token string) {
	s.T.Helper()
	e := systemtest.Call[api.Enrolment](s, 201, "POST", "/v1/me/second-factors", token, api.NewFactor{Name: "telephone"})
	code, err := totp.GenerateCode(e.Secret, time.Now())
	if err != nil {
		s.T.Fatal(err)
	}
	systemtest.Call[api.RecoveryCodes](s, 200, "POST", "/v1/me/second-factors/"+e.ID.String()+"/confirm", token, api.FirstCode{Code: code})
}

// bindEdge has a computer serve a venue, as its hello would.
func bindEdge(t *testing.T, cfg system.Config, venue ids.Venue) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(cfg.Data, "sql"), "venue", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		now := store.Time(time.Now())
		_, err := tx.ExecContext(ctx, `INSERT INTO edges
			(venue_id, edge, number, released, seen_at, status, watcher, watched_until)
			VALUES (?, 'its-folder', 1, '', ?, '{}', '', ?)`, venue, now, now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// canary fails if a line has an address of a person, or a secret.
func canary(s *systemtest.Site, admin string) {
	s.T.Helper()
	for cursor := ""; ; {
		page := systemtest.Call[api.List[api.AuditEntry]](s, 200, "GET", "/v1/audit-log?limit=200&cursor="+cursor, admin, nil)
		for _, l := range page.Items {
			text, err := json.Marshal(l)
			if err != nil {
				s.T.Fatal(err)
			}
			for _, no := range []string{"example.org", systemtest.Password, "dp_", "-----BEGIN"} {
				if strings.Contains(string(text), no) {
					s.T.Errorf("%q is in the audit log: %s", no, text)
				}
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return
		}
	}
}

// proveAuditLog proves the chain.
func proveAuditLog(s *systemtest.Site, data string, connect func(context.Context) (jetstream.JetStream, func(), error)) {
	s.T.Helper()
	js, done, err := connect(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	defer done()
	db, err := store.Open(s.T.Context(), "sqlite:"+data+"/sql", "audit", nil, nil)
	if err != nil {
		s.T.Fatal(err)
	}
	defer db.Close()
	whole := func() error { // what was done a moment ago may be on its way to the log
		n, broken, err := audit.Verify(s.T.Context(), db, js)
		if err != nil || n == 0 || len(broken) > 0 {
			return fmt.Errorf("%d lines, broken: %v, %v", n, broken, err)
		}
		return nil
	}
	testkit.Eventually(s.T, 20*time.Second, whole)
	for _, change := range []string{
		"UPDATE lines SET data = replace(data, 'at', 'AT') WHERE number = 3",
		"UPDATE lines SET act = 'nothing' WHERE number = 4",
		"DELETE FROM lines WHERE number = 5",
		"DELETE FROM lines WHERE number = (SELECT number FROM head)",
	} {
		err := db.Tx(s.T.Context(), func(ctx context.Context, tx bun.Tx) error {
			for _, q := range []string{"DROP TABLE IF EXISTS saved", "CREATE TABLE saved AS SELECT * FROM lines", change} {
				if _, err := tx.ExecContext(ctx, q); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.T.Fatal(err)
		}
		if _, broken, err := audit.Verify(s.T.Context(), db, js); err != nil || len(broken) == 0 {
			s.T.Errorf("%s was not found: %v", change, err)
		}
		err = db.Tx(s.T.Context(), func(ctx context.Context, tx bun.Tx) error {
			// Lines that were added meanwhile stay.
			for _, q := range []string{
				"DELETE FROM lines WHERE number <= (SELECT max(number) FROM saved)", "INSERT INTO lines SELECT * FROM saved", "DROP TABLE saved",
			} {
				if _, err := tx.ExecContext(ctx, q); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.T.Fatal(err)
		}
	}
	testkit.Eventually(s.T, 20*time.Second, whole)
}

// A setting has its line also when it was written with a tool, which cannot pass for a person.
func TestSettingsAreAudited(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, sys, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	me := systemtest.Call[api.User](s, 200, "GET", "/v1/me", admin, nil).ID
	key := api.DoorsClose.Key()
	s.Set(admin, key, "10h")
	query := url.Values{"object": {key}}
	first := s.Lines(admin, 1, query)[0]
	if first.Act != "config.put" || first.By.UserID != me || string(first.After["value"]) != `"10h"` || first.Before != nil {
		t.Errorf("by the API: %+v", first)
	}
	js, done, err := systemtest.Ops(t, sys.NATSURL(), cfg.Data+"/creds")(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	kv, err := js.KeyValue(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), key, "9h"); err != nil {
		t.Fatal(err)
	}
	second := s.Lines(admin, 2, query)[0]
	if second.By.UserID != "" || second.By.Service != "nats" || string(second.Before["value"]) != `"10h"` ||
		string(second.After["value"]) != `"9h"` {
		t.Errorf("by a tool: %+v", second)
	}
	of, err := js.Stream(t.Context(), api.ConfigStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := of.GetMsg(t.Context(), 1)
	for seq := uint64(2); err == nil && m.Header.Get(api.HeaderAuditClaim) == ""; seq++ {
		m, err = of.GetMsg(t.Context(), seq)
	}
	if err != nil {
		t.Fatal(err)
	}
	forged := nats.NewMsg("$KV.config." + key)
	forged.Data = []byte("8h")
	forged.Header.Set(api.HeaderAuditClaim, m.Header.Get(api.HeaderAuditClaim))
	if _, err := js.PublishMsg(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if third := s.Lines(admin, 3, query)[0]; third.By.UserID != "" || third.By.Service != "nats" {
		t.Errorf("by a tool that named a claim: %+v", third)
	}
	systemtest.Call[api.Setting](s, 200, "POST", "/v1/config/"+key+"/rollback", admin, map[string]any{})
	if fourth := s.Lines(admin, 4, query)[0]; fourth.Act != "config.rollback" || fourth.By.UserID != me {
		t.Errorf("rolled back: %+v", fourth)
	}
	systemtest.Call[rpc.None](s, 204, "DELETE", "/v1/config/"+key, admin, nil)
	if fifth := s.Lines(admin, 5, query)[0]; fifth.Act != "config.delete" || fifth.By.UserID != me || fifth.After != nil {
		t.Errorf("deleted: %+v", fifth)
	}
}

// Whoever guesses at the password of an administrator leaves lines, and so does the administrator.
func TestLoginsOfAdministratorsAreAudited(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Join("ada@example.org")
	for _, email := range []string{systemtest.AdminEmail, "ada@example.org"} {
		s.Refused("unauthenticated", "POST", "/v1/sessions", "", map[string]string{"email": email, "password": "wrong guess"})
	}
	me := systemtest.Call[api.User](s, 200, "GET", "/v1/me", admin, nil).ID
	lines := s.Lines(admin, 2, url.Values{"act": {"user.login"}})
	if len(lines) != 2 || !lines[0].Refused || lines[1].Refused || lines[0].Object != me.String() ||
		lines[0].By.UserID != "" || lines[0].By.Address == "" {
		t.Errorf("%+v", lines)
	}
}

// Who may read what, with what filters.
func TestAuditLogIsReadByWhoMay(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	who, owner := s.Join("owner@example.org")
	_, other := s.Join("other@example.org")
	e := s.Concert(owner, 5, 0)
	s.Concert(other, 5, 0)
	event := "/v1/events/" + e.ID.String() + "/audit-log"
	s.Lines(admin, 2, url.Values{"event": {e.ID.String()}})
	for _, l := range systemtest.Call[api.List[api.AuditEntry]](s, 200, "GET", event, owner, nil).Items {
		if l.EventID != e.ID || l.By.UserID != who.ID || l.By.SessionID == "" {
			t.Errorf("%+v", l)
		}
	}
	systemtest.Call[api.Event](s, 200, "PATCH", "/v1/events/"+e.ID.String(), admin, map[string]string{"name": "By an administrator"})
	var seen api.AuditEntry
	testkit.Eventually(t, 10*time.Second, func() error {
		seen = systemtest.Call[api.List[api.AuditEntry]](s, 200, "GET", event, owner, nil).Items[0]
		if seen.Act != "event.update" {
			return fmt.Errorf("the newest is %s", seen.Act)
		}
		return nil
	})
	if seen.By.UserID == "" || seen.By.Address != "" || seen.By.SessionID != "" || seen.By.Device != "" ||
		string(seen.After["name"]) != `"By an administrator"` || string(seen.Before["name"]) != `"`+e.Name+`"` || len(seen.After) != 1 {
		t.Errorf("of another one: %+v", seen)
	}
	s.Refused("forbidden", "GET", event, other, nil)
	s.Refused("forbidden", "GET", "/v1/audit-log", owner, nil)
	s.Refused("unauthenticated", "GET", "/v1/audit-log", "", nil)
	for _, query := range []string{"user=ada", "event=x", "from=yesterday", "to=1", "cursor=x", "limit=0", "limit=201", "cursor=MA"} {
		s.Refused("invalid", "GET", "/v1/audit-log?"+query, admin, nil)
	}
	var numbers []int64
	for cursor := ""; ; {
		page := systemtest.Call[api.List[api.AuditEntry]](s, 200, "GET", "/v1/audit-log?limit=2&cursor="+cursor, admin, nil)
		for _, l := range page.Items {
			numbers = append(numbers, l.Number)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	for i, n := range numbers {
		if n != int64(len(numbers)-i) {
			t.Fatalf("numbers: %v", numbers)
		}
	}
	past := url.Values{"to": {time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}}
	if old := s.Lines(admin, 0, past); len(old) != 0 {
		t.Errorf("%d lines of an hour ago", len(old))
	}
}
