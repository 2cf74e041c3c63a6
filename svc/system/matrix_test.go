package system_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// Who may do what with the things of others. An endpoint of api.All with an id in its path that is not here, and not for
// administrators only, fails the test: its row has to be written.
const (
	owners   = "owner admin"
	managers = owners + " manager"
	money    = managers + " finance" // orders, money and numbers
	doors    = managers + " door"
	team     = money + " door"
	holders  = money + " buyer"
	members  = owners + " finance" // of the organizer, not of the event alone
)

func mayCall() map[string]string {
	return map[string]string{
		"event.get": team, "event.calendar": team, "ticketing.availability": team, // of a draft; what is published is for all
		"event.update": managers, "event.set_image": managers, "event.delete_image": managers, "event.delete": managers, "event.publish": managers, "event.cancel": managers,
		"event.add_ticket_type": managers, "event.update_ticket_type": managers, "event.delete_ticket_type": managers,
		"event.readiness": team, "event.copy": owners, "event.create_series": owners,
		"event.list_team": team, "event.set_team_member": managers, "event.delete_team_member": managers, "event.set_organizer": owners, "event.invite": managers, "event.uninvite": managers,
		"ticketing.renew_order_access": "", "ticketing.end_order_access": "", "ticketing.update_order": "", "ticketing.export_order": "", "ticketing.forget_order": "", // of guests
		"ticketing.get_order": holders, "ticketing.cancel_order": holders, "ticketing.order_tickets": holders, "ticketing.event_orders": money,
		"ticketing.set_billing": holders, "ticketing.create_invoice": holders, "ticketing.order_invoices": holders, "ticketing.order_invoice_pdf": holders,
		"ticketing.get_invoice": holders, "ticketing.invoice_pdf": holders, "ticketing.invoice_xml": holders, "ticketing.invoices": members, "ticketing.invoices_csv": members, "ticketing.organizer_taxes": members,
		"ticketing.get_cancellation": "buyer", "ticketing.create_cancellation": "buyer", "ticketing.cancellations": money, "ticketing.get_exchange": holders, "ticketing.create_exchange": "buyer", "ticketing.create_staff_exchange": money, "ticketing.decide_cancellation": money,
		"ticketing.create_import": money, "ticketing.imports": money, "ticketing.get_import": money, "ticketing.import_rows": money,
		"ticketing.start_import": money, "ticketing.stop_import": money, "ticketing.import_example": money,
		"ticketing.create_staff_order": money, "ticketing.update_event_order": money, "ticketing.mail_order_tickets": holders,
		"analytics.summary": money, "analytics.sales": money, "analytics.attendance": money, "analytics.funnel": money,
		"analytics.demographics": money, "analytics.forecast": money, "analytics.report": money, "analytics.live": money,
		"ticketing.get_ticket": holders, "ticketing.ticket_qr": holders, "ticketing.transfer_ticket": "buyer", "ticketing.withdraw_transfer": "buyer",
		"ticketing.attendees": money, "ticketing.attendees_csv": money, "ticketing.attendees_xlsx": money, "ticketing.orders_csv": money,
		"ticketing.orders_xlsx": money, "ticketing.update_ticket": "buyer",
		"event.questions": team, "event.set_questions": managers, "ticketing.answer_counts": money, "ticketing.refused_answers": money,
		"ticketing.order_answers": holders, "ticketing.set_order_answers": holders,
		"ticketing.ticket_answers": holders + " door", "ticketing.set_ticket_answers": holders + " door",
		"ticketing.admit": doors, "ticketing.exit": doors, "ticketing.admissions": doors, "ticketing.undo_admission": managers,
		"ticketing.set_authority": owners, "ticketing.authority": doors, "ticketing.end_authority": managers,
		"notification.announce": managers, "notification.announcements": managers, "notification.preview_announcement": managers, "notification.ticket_pages": "buyer",
		"payment.create": "buyer", "payment.get": holders, "payment.refunds": holders, "payment.refund": money,
		"user.end_session": "buyer", "audit.list_event": managers, "audit.list_organizer": owners, "audit.organizer_csv": owners,
		"user.confirm_factor": "", "user.delete_factor": "", "user.rename_passkey": "", "user.delete_passkey": "", "user.delete_identity": "", // of those who call, who have none
		"venue.get": "owner admin", "venue.update": "owner admin", "venue.status": "owner admin", "venue.release_edge": "owner admin",
		"venue.create_credentials": "owner admin", "venue.delete_credentials": "owner admin",
		"venue.create_pass": managers, "venue.list_passes": managers, "venue.delete_pass": managers,
		"ticketing.reverse_sale": money, "ticketing.leases": managers, "ticketing.flagged_sales": money, "ticketing.create_lease": "owner admin", "ticketing.resize_lease": "owner admin", "ticketing.close_lease": "owner admin",
		"payment.manual_payment": holders, "payment.mark_paid": money, "payment.mark_refund_paid": money, "payment.repeat_refund": money, "payment.disputes": money, "payment.event_money": money, "payment.organizer_money": members,
		"payment.organizer_balances": members, "payment.list_payouts": members,
		"ticketing.create_code": managers, "ticketing.create_codes": managers, "ticketing.codes": managers, "ticketing.codes_csv": managers,
		"ticketing.get_code": managers, "ticketing.update_code": managers, "ticketing.delete_code": managers,
		"ticketing.create_organizer_code": owners, "ticketing.organizer_codes": owners, "ticketing.update_organizer_code": owners, "ticketing.delete_organizer_code": owners,
		"event.get_organizer": members, "event.list_members": members, "event.list_roles": members, "event.update_organizer": owners, "event.set_logo": owners, "event.delete_logo": owners,
		"event.set_member": owners, "event.delete_member": owners, "event.invite_member": owners, "event.uninvite_member": owners,
		"event.transfer_organizer": owners, "event.set_role": owners, "event.delete_role": owners,
		"notification.create_webhook": owners, "notification.list_webhooks": owners, "notification.get_webhook": owners, "notification.update_webhook": owners, "notification.delete_webhook": owners,
		"notification.rotate_webhook": owners, "notification.replay_webhook": owners, "notification.webhook_attempts": owners,
		"event.create_api_key": owners, "event.list_api_keys": owners, "event.update_api_key": owners, "event.delete_api_key": owners, "event.rotate_api_key": owners,
	}
}

// person is a caller with a token.
type person struct {
	name, token string
	id          ids.User
}

// cast are the people of the matrix. The stranger runs an event too, and has a ticket to it.
func cast(s *systemtest.Site, admin string, cfg system.Config) []person {
	s.T.Helper()
	people := []person{{name: "anonymous"}, {name: "admin", token: admin}}
	for _, name := range []string{"stranger", "buyer", "owner", "manager", "door", "finance"} {
		u, token := s.Join(name + "@example.org")
		people = append(people, person{name, token, u.ID})
	}
	stranger := people[2].token
	systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", stranger, systemtest.Seats(s.Concert(stranger, 5, 0), 1))
	owner, finance := people[4], people[7]
	s.Concert(owner.token, 1, 0) // which makes the organizer
	s.Confirm(cfg, "finance@example.org")
	got := systemtest.Call[api.TeamMember](s, 201, "POST", "/v1/organizers/"+api.OrganizerOf(owner.id).String()+"/members", owner.token,
		map[string]string{"email": "finance@example.org", "role": api.RoleFinance})
	if got.UserID != finance.id {
		s.T.Fatalf("invited is %+v", got)
	}
	return people
}

// world is a set of things that belong to the owner and the buyer, none of which was touched yet.
type world struct {
	s             *systemtest.Site
	admin         string
	event, draft  api.Event
	paid, pending api.Order
	ticket        api.Ticket
	venue         api.Venue
	scan          ids.Admission // of a code that is none
	lease         api.Lease
	sale          api.Sale
	manual        api.Payment         // of another pending order, by bank transfer
	session       ids.Session         // of the buyer, besides the one that calls
	members       map[string]ids.User // one that each person may remove from the team
	passes        map[string]ids.Pass // one that each person may delete
	keys          map[string]ids.Key  // one that each person may delete
	codes, forAll map[string]ids.PromoCode
	hooks         map[string]ids.Webhook
	owner         person
	cancellation  ids.Cancellation // that waits for the organizer
	invoice       ids.Invoice      // of the paid order
	imported      ids.Import       // that is only checked
}

// world makes all things that people may try to reach, or only what the path of one endpoint names and what is always
// there.
func newWorld(s *systemtest.Site, people []person, admin string, of *rpc.Descriptor) *world {
	s.T.Helper()
	asked := map[reflect.Type]bool{}
	if of != nil {
		for f := range fields(of.Request) {
			asked[f.Type] = asked[f.Type] || f.Tag.Get("path") != ""
		}
	}
	asks := func(id any) bool { return of == nil || asked[reflect.TypeOf(id)] }
	who := map[string]person{}
	for _, p := range people {
		who[p.name] = p
	}
	w := &world{s: s, admin: admin, owner: who["owner"], members: map[string]ids.User{}, passes: map[string]ids.Pass{}, keys: map[string]ids.Key{},
		codes: map[string]ids.PromoCode{}, forAll: map[string]ids.PromoCode{}, hooks: map[string]ids.Webhook{}}
	owner, buyer := who["owner"].token, who["buyer"].token
	s.Login("buyer@example.org")
	w.session = systemtest.Call[api.List[api.SessionInfo]](s, 200, "GET", "/v1/me/sessions?limit=1", buyer, nil).Items[0].ID
	w.event = s.Concert(owner, 10, 1000)
	w.draft = systemtest.Call[api.Event](s, 201, "POST", "/v1/events", owner, api.NewEvent{Name: "Secret", StartsAt: w.event.StartsAt, EndsAt: w.event.EndsAt, Timezone: "UTC",
		Location: w.event.Location, TicketTypes: []api.NewTicketType{{Name: "T", Price: api.Money{Currency: "EUR"}, Quantity: 1}}})
	for _, p := range people {
		if asks(ids.Pass("")) {
			w.passes[p.name] = systemtest.Call[api.NewPassSecret](s, 201, "POST", "/v1/events/"+w.event.ID.String()+"/passes", owner, api.NewPass{Name: p.name}).ID
		}
		if !asks(ids.User("")) {
			continue
		}
		w.members[p.name] = systemtest.Call[api.User](s, 201, "POST", "/v1/users", "",
			api.Register{Email: ids.New[ids.UserKind](time.Now()).String() + "@example.org", Password: systemtest.Password, Name: "Member"}).ID
		systemtest.Call[any](s, 200, "PUT", "/v1/events/"+w.event.ID.String()+"/team/"+w.members[p.name].String(), owner, map[string]string{"role": api.RoleDoor})
	}
	for _, k := range systemtest.Call[api.List[api.APIKey]](s, 200, "GET", w.organizer()+"/api-keys", owner, nil).Items { // of the world before
		systemtest.Call[any](s, 204, "DELETE", w.organizer()+"/api-keys/"+k.ID.String(), owner, nil)
	}
	for _, p := range people {
		if asks("") {
			systemtest.Call[api.Role](s, 200, "PUT", w.organizer()+"/roles/of-"+p.name, owner, map[string]any{"permissions": []string{"door.admit"}})
		}
		if asks(ids.Key("")) {
			w.keys[p.name] = systemtest.Call[api.APIKeySecret](s, 201, "POST", w.organizer()+"/api-keys", owner, map[string]any{"name": p.name, "scopes": []string{api.ScopeRead}}).ID
		}
		if asks(ids.Webhook("")) {
			w.hooks[p.name] = systemtest.Call[api.WebhookSecret](s, 201, "POST", w.organizer()+"/webhooks", owner, map[string]any{"url": "https://192.88.99.1/", "topics": []string{"event.deleted"}}).ID
		}
	}
	for _, e := range []api.Event{w.event, w.draft} {
		for _, role := range []string{api.RoleManager, api.RoleDoor} {
			systemtest.Call[any](s, 200, "PUT", "/v1/events/"+e.ID.String()+"/team/"+who[role].id.String(), owner, map[string]string{"role": role})
		}
	}
	w.venue = systemtest.Call[api.Venue](s, 201, "POST", "/v1/venues", owner, api.NewVenue{Name: "Hall", Timezone: "UTC"})
	w.lease = systemtest.Call[api.Lease](s, 201, "POST", "/v1/events/"+w.event.ID.String()+"/leases", owner, api.NewLease{VenueID: w.venue.ID,
		TicketTypeID: w.event.TicketTypes[0].ID, Quantity: 1})
	w.sale = systemtest.Call[api.Sale](s, 201, "POST", "/v1/box-office/sales", owner, api.NewSale{EventID: w.event.ID, Items: systemtest.Seats(w.event, 1).Items,
		Payment: api.BoxOfficePayment{Method: api.PaidInCash}})
	for _, p := range people {
		if !asks(ids.PromoCode("")) {
			break
		}
		w.codes[p.name] = systemtest.Call[api.PromoCode](s, 201, "POST", "/v1/events/"+w.event.ID.String()+"/codes", owner, map[string]string{"name": p.name}).ID
		w.forAll[p.name] = systemtest.Call[api.PromoCode](s, 201, "POST", w.organizer()+"/codes", owner, map[string]string{"name": p.name}).ID
	}
	if asks(ids.Import("")) {
		w.imported = systemtest.Call[api.Import](s, 201, "POST", "/v1/events/"+w.event.ID.String()+"/imports", owner, []byte("email\nvip@example.org\n")).ID
	}
	doors := "/v1/events/" + w.event.ID.String() + "/admissions"
	systemtest.Call[api.AdmissionResult](s, 200, "POST", doors, owner, map[string]string{"code": "nonsense"})
	w.scan = systemtest.Call[api.List[api.Scan]](s, 200, "GET", doors, owner, nil).Items[0].ID
	w.paid = systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(w.event, 1))
	if asks(ids.Invoice("")) {
		systemtest.Call[api.Organizer](s, 200, "PATCH", w.organizer(), owner, map[string]any{"invoices": true, "legal_name": "Opera", "address": "Road 1", "country": "DE"})
		defer func() {
			systemtest.Call[api.Organizer](s, 200, "PATCH", w.organizer(), owner, map[string]any{"invoices": false})
		}()
	}
	w.ticket = s.Pay(buyer, w.paid)[0]
	if asks(ids.Invoice("")) {
		testkit.Eventually(s.T, 30*time.Second, func() error { // the organizer may not be everywhere yet
			got, err := s.Send("POST", "/v1/orders/"+w.paid.ID.String()+"/invoice", buyer, api.NewInvoice{Billing: someBilling()})
			if err == nil && got.Status != 201 {
				err = fmt.Errorf("%d %s", got.Status, got.Body)
			}
			if err != nil {
				return err
			}
			var made api.Invoice
			err = json.Unmarshal(got.Body, &made)
			w.invoice = made.ID
			return err
		})
	}
	if of != nil && asks(ids.Cancellation("")) {
		w.cancellation = systemtest.Call[api.Cancellation](s, 201, "POST", "/v1/orders/"+w.paid.ID.String()+"/cancellations", buyer, map[string]string{}).ID
	} else if of == nil {
		w.cancellation = ids.New[ids.CancellationKind](time.Now())
	}
	w.paid = systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+w.paid.ID.String(), buyer, nil)
	w.pending = systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(w.event, 1))
	other := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(w.event, 1))
	testkit.Eventually(s.T, 30*time.Second, func() error { // the setting may not be everywhere yet
		got, err := s.Send("POST", "/v1/orders/"+other.ID.String()+"/payments", buyer, api.NewPayment{Provider: "manual"})
		if err == nil && got.Status != 201 {
			err = fmt.Errorf("%d %s", got.Status, got.Body)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(got.Body, &w.manual)
	})
	return w
}

func someBilling() *api.Billing {
	return &api.Billing{Name: "Kim Day", Street: "Long Road 1", City: "Kassel", Country: "DE"}
}

// organizer is the path of the one whose events they are.
func (w *world) organizer() string { return "/v1/organizers/" + w.event.OrganizerID.String() }

// path fills the path of an endpoint with ids of the kinds that its request asks for.
func (w *world) path(d rpc.Descriptor, e api.Event, p person) string {
	order := w.paid
	if d.Method != "GET" {
		order = w.pending
	}
	path := d.Path
	for f := range fields(d.Request) {
		name := f.Tag.Get("path")
		if name == "" {
			continue
		}
		var id string
		switch reflect.Zero(f.Type).Interface().(type) {
		case ids.Event:
			id = e.ID.String()
		case ids.TicketType:
			id = e.TicketTypes[0].ID.String()
		case ids.Order:
			if id = order.ID.String(); d.Subject() == api.ReverseSale.Subject() {
				id = w.sale.OrderID.String()
			}
		case ids.Cancellation:
			id = w.cancellation.String()
		case ids.Invoice:
			id = w.invoice.String()
		case ids.Import:
			id = w.imported.String()
		case ids.Session:
			id = w.session.String()
		case ids.Venue:
			id = w.venue.ID.String()
		case ids.Passkey:
			id = ids.New[ids.PasskeyKind](time.Now()).String()
		case ids.IdentityProvider:
			id = ids.New[ids.IdentityProviderKind](time.Now()).String()
		case ids.Identity:
			id = ids.New[ids.IdentityKind](time.Now()).String()
		case ids.Factor:
			id = ids.New[ids.FactorKind](time.Now()).String()
		case ids.Lease:
			id = w.lease.ID.String()
		case ids.PromoCode:
			if id = w.codes[p.name].String(); strings.HasPrefix(d.Path, "/v1/organizers/") {
				id = w.forAll[p.name].String()
			}
		case ids.Admission:
			id = w.scan.String()
		case ids.Ticket:
			id = w.ticket.ID.String()
		case ids.Payment:
			id = w.paid.PaymentID.String()
		case ids.Refund:
			id = ids.New[ids.RefundKind](time.Now()).String()
		case ids.Organizer:
			id = w.event.OrganizerID.String()
		case string:
			switch id = w.manual.ID.String(); name {
			case "file":
				id = "sales.csv"
			case "name":
				id = "of-" + p.name
			}
		case ids.User:
			if id = w.members[p.name].String(); strings.HasPrefix(d.Path, "/v1/organizers/") {
				id = w.owner.id.String() // who cannot leave, nor be less than an owner
			}
		case ids.Pass:
			id = w.passes[p.name].String()
		case ids.Key:
			id = w.keys[p.name].String()
		case ids.Webhook:
			id = w.hooks[p.name].String()
		default:
			w.s.T.Fatalf("%s: what is the %s in its path?", d.Subject(), name)
		}
		path = strings.ReplaceAll(path, "{"+name+"}", id)
	}
	if d.Subject() == api.DeleteInvitation.Subject() || d.Subject() == api.DeleteOrganizerInvitation.Subject() {
		path += "?email=new@example.org"
	}
	if d.Subject() == api.GetInvoicesCSV.Subject() || d.Subject() == api.ListOrganizerTaxes.Subject() {
		path += "?year=2030"
	}
	if d.Subject() == api.PutEventImage.Subject() {
		path += "?alt=A+stage"
	}
	return path
}

// fields yields the fields of a request, those of embedded structs too.
func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return slices.Values(slices.DeleteFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool { return f.Anonymous }))
}

// body returns a request that would be good if the right person sent it.
func (w *world) body(d rpc.Descriptor) any {
	switch d.Subject() {
	case "api.event.update", "api.event.update_ticket_type", "api.venue.update", "api.event.update_organizer":
		return map[string]string{"name": "Another name"}
	case "api.event.set_image", "api.event.set_logo":
		return systemtest.APicture()
	case "api.user.rename_passkey":
		return map[string]string{"name": "Another key"}
	case "api.event.create_series":
		return api.NewSeries{Rule: "FREQ=DAILY;COUNT=2"}
	case "api.event.copy":
		return api.CopyOf{StartsAt: w.event.StartsAt.Add(24 * time.Hour)}
	case "api.event.add_ticket_type":
		return api.NewTicketType{Name: "More", Price: api.Money{Amount: 1, Currency: "EUR"}, Quantity: 1}
	case "api.ticketing.create_lease":
		return api.NewLease{VenueID: w.venue.ID, TicketTypeID: w.event.TicketTypes[0].ID, Quantity: 1}
	case "api.ticketing.create_code", "api.ticketing.create_organizer_code":
		return map[string]any{"kind": "percent", "percent": "10"}
	case "api.ticketing.create_codes":
		return map[string]any{"count": 2, "kind": "percent", "percent": "10"}
	case "api.ticketing.update_code", "api.ticketing.update_organizer_code":
		return map[string]any{"max_uses": 3}
	case "api.ticketing.resize_lease":
		return api.PatchLease{Quantity: 1}
	case "api.ticketing.close_venue":
		return api.NewVenueClosure{Reason: "it was stolen"}
	case "api.venue.pair":
		return api.PairRequest{Code: "not one"}
	case "api.venue.scan_with_pass":
		return api.PassScan{Secret: "not one", Code: "not one"}
	case "api.venue.create_pass":
		return api.NewPass{Name: "Scanner"}
	case "api.ticketing.create_staff_order":
		return api.StaffOrder{Items: systemtest.Seats(w.event, 1).Items, Email: "guest@example.org", Complimentary: true}
	case "api.ticketing.create_import":
		return []byte("email\nvip@example.org\n")
	case "api.ticketing.update_event_order":
		return map[string]string{"note": "calls back"}
	case "api.ticketing.create_exchange", "api.ticketing.create_staff_exchange":
		last := w.event.TicketTypes[len(w.event.TicketTypes)-1].ID // of an event with one type, that of the ticket
		return api.ExchangeFor{Tickets: []ids.Ticket{w.ticket.ID}, TicketTypeID: last}
	case "api.ticketing.decide_cancellation":
		return map[string]string{"decision": api.CancellationDeclined}
	case "api.event.invite":
		return api.Invite{Email: "new@example.org", Role: api.RoleDoor}
	case "api.event.set_organizer":
		return api.SetOrganizer{UserID: w.owner.id} // who has it: handing it over would change who may do the rest
	case "api.event.transfer_organizer":
		return api.NewOwner{UserID: w.owner.id}
	case "api.event.invite_member":
		return map[string]string{"email": "new@example.org", "role": api.RoleDoor}
	case "api.event.set_member":
		return map[string]string{"role": api.RoleOwner}
	case "api.ticketing.set_billing":
		return someBilling()
	case "api.event.set_role":
		return map[string]any{"permissions": []string{"door.admit", "door.undo"}}
	case "api.notification.create_webhook":
		return map[string]any{"url": "https://192.88.99.1/", "topics": []string{"event.deleted"}}
	case "api.notification.replay_webhook":
		return map[string]any{"from": time.Now()}
	case "api.event.create_api_key":
		return map[string]any{"name": "Till", "scopes": []string{api.ScopeSell}}
	case "api.user.confirm_factor":
		return map[string]string{"code": "123456"}
	case "api.event.set_team_member":
		return map[string]string{"role": api.RoleManager}
	case "api.ticketing.update_ticket":
		return api.NewHolder{Holder: api.Attendee{Name: "Ada"}}
	case "api.event.set_questions":
		return map[string]any{"questions": []any{map[string]string{"label": "Size", "kind": "number"}}}
	case "api.ticketing.set_order_answers", "api.ticketing.set_ticket_answers":
		return map[string]any{"answers": []any{}}
	case "api.ticketing.transfer_ticket":
		return map[string]string{"email": "stranger@example.org"}
	case "api.ticketing.set_authority":
		return api.NewAuthority{VenueID: w.venue.ID}
	case "api.ticketing.admit", "api.ticketing.exit":
		return map[string]string{"code": w.ticket.Code}
	case "api.notification.announce", "api.notification.preview_announcement":
		return map[string]string{"subject": "Doors", "text": "They open early."}
	case "api.payment.refund":
		return api.NewRefund{Amount: &api.Money{Amount: 1, Currency: "EUR"}}
	case "api.payment.mark_paid":
		return api.MarkPaid{Amount: api.Money{Amount: 1000, Currency: "EUR"}}
	case "api.payment.create":
		return api.NewPayment{Provider: "sandbox"}
	}
	return nil
}

// seen is everything that could have been changed, as an administrator sees it.
func (w *world) seen() string {
	w.s.T.Helper()
	event := "/v1/events/" + w.event.ID.String()
	var b strings.Builder
	for _, path := range []string{w.organizer(), w.organizer() + "/members", w.organizer() + "/roles", w.organizer() + "/api-keys", event, event + "/team", event + "/admissions", event + "/leases", event + "/passes", "/v1/events/" + w.draft.ID.String(), "/v1/orders/" + w.paid.ID.String(),
		"/v1/orders/" + w.pending.ID.String(), "/v1/tickets/" + w.ticket.ID.String(), "/v1/payments/" + w.paid.PaymentID.String(),
		"/v1/venues/" + w.venue.ID.String()} {
		got, err := w.s.Send("GET", path, w.admin, nil)
		if err != nil || got.Status != 200 {
			w.s.T.Fatalf("%s: %d %v", path, got.Status, err)
		}
		fmt.Fprintf(&b, "%s: %s\n", path, got.Body)
	}
	return b.String()
}

// Who may do what with whose things, made from the declarations: first all who may not try, and nothing changes; then all who may.
func TestAccessMatrix(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	cfg.Sandbox = true
	s, _, _ := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	s.Set(admin, api.ManualEnabled.Key(), "true")
	s.Set(admin, api.HoldTTL.Key(), "1h") // nothing changes by itself, however slow the machine is
	people := cast(s, admin, cfg)
	may := mayCall()
	reading := newWorld(s, people, admin, nil)
	checked := 0
	try := func(d rpc.Descriptor, w *world, e api.Event, p person) (systemtest.Answer, string) {
		t.Helper()
		checked++
		what := fmt.Sprintf("%s %s as %s", d.Method, d.Path, p.name)
		got, err := s.Send(d.Method, w.path(d, e, p), p.token, w.body(d))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return got, what
	}
	for _, d := range api.All() {
		if d.Access == rpc.Public || d.Access == rpc.Internal || d.Access == rpc.Admin || len(codec.PathNames(d.Path)) == 0 {
			continue
		}
		allowed, decided := may[d.Service+"."+d.Name]
		if delete(may, d.Service+"."+d.Name); !decided {
			t.Errorf("%s %s: who may?", d.Method, d.Path)
			continue
		}
		w := reading
		if d.Method != "GET" {
			w = newWorld(s, people, admin, &d)
		}
		ofEvent := strings.HasPrefix(d.Path, "/v1/events/")
		before := w.seen()
		for _, p := range people {
			if slices.Contains(strings.Fields(allowed), p.name) {
				continue
			}
			want, secret := 404, 404 // what the caller may not see does not exist
			if ofEvent {
				want = 403
				if p.name == "door" || p.name == "manager" || p.name == "finance" {
					secret = 403 // knows the draft
				}
			}
			if d.Subject() == api.CreateRefund.Subject() && p.name == "buyer" {
				want = 403 // sees the payment
			}
			if strings.HasPrefix(d.Path, "/v1/organizers/") && p.name == "finance" {
				want = 403 // sees the organizer
			}
			if p.name == "anonymous" && d.Access == rpc.User {
				want, secret = 401, 401
			}
			if d.Access == rpc.User {
				if got, what := try(d, w, w.event, p); got.Status != want {
					t.Errorf("%s: %d %s, want %d", what, got.Status, got.Body, want)
				}
			}
			if ofEvent {
				if got, what := try(d, w, w.draft, p); got.Status != secret {
					t.Errorf("%s, a draft: %d %s, want %d", what, got.Status, got.Body, secret)
				}
			}
		}
		if after := w.seen(); after != before {
			t.Errorf("%s %s: people who may not do it have changed something:\n%s\n%s", d.Method, d.Path, before, after)
		}
		for _, p := range people {
			if !slices.Contains(strings.Fields(allowed), p.name) {
				continue
			}
			e := w.event
			if d.Access == rpc.Optional {
				e = w.draft
			}
			if d.Live.Is() { // does not end; the answer is that of the endpoint beside it
				continue
			}
			// A conflict is an answer to a caller who may: another one has done it before.
			got, what := try(d, w, e, p)
			if d.Subject() == api.RepeatRefund.Subject() && strings.Contains(string(got.Body), "no such refund") {
				continue // which those who may not are not told
			}
			if got.Status >= 300 && got.Status != 409 {
				t.Errorf("%s: %d %s", what, got.Status, got.Body)
			}
		}
	}
	for name := range may {
		t.Errorf("%s is decided, but not declared", name)
	}
	if checked < 200 {
		t.Errorf("only %d were tried", checked)
	}

	// Lists of one's own hold nothing of others.
	for _, d := range api.All() {
		if d.Method != "GET" || d.Access != rpc.User || d.Live.Is() || len(codec.PathNames(d.Path)) > 0 {
			continue
		}
		got, err := s.Send("GET", d.Path, people[2].token, nil)
		if err != nil || got.Status != 200 {
			t.Errorf("%s as %s: %d %v", d.Path, people[2].name, got.Status, err)
		}
		for _, foreign := range []string{reading.paid.ID.String(), reading.ticket.ID.String(), reading.paid.PaymentID.String(), "buyer@example.org"} {
			if strings.Contains(string(got.Body), foreign) {
				t.Errorf("%s shows the stranger %s", d.Path, foreign)
			}
		}
	}
}

// The rule at the door of every endpoint: who is anonymous, who is not an administrator, and what HTTP does not reach.
func TestAccessRules(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	_, stranger := s.Join("stranger@example.org")
	for _, d := range api.All() {
		path := mangled(d.Path, ids.New[ids.EventKind](time.Now()).String())
		refused := func(who, token string, want int) {
			t.Helper()
			got, err := s.Send(d.Method, path, token, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Status != want {
				t.Errorf("%s %s as %s: %d %s, want %d", d.Method, d.Path, who, got.Status, got.Body, want)
			}
		}
		switch d.Access {
		case rpc.Admin:
			refused("stranger", stranger, 403)
			fallthrough
		case rpc.User:
			refused("anonymous", "", 401)
			fallthrough
		case rpc.Optional:
			refused("a bad token", "not.a.token", 401)
		case rpc.Internal:
			for _, path := range []string{"/api/" + d.Service + "/" + d.Name, "/" + d.Subject(), "/v1/" + d.Service + "/" + d.Name} {
				if got, err := s.Send("POST", path, admin, nil); err != nil || got.Status != 404 && got.Status != 405 {
					t.Errorf("%s over HTTP: %d %s %v", d.Subject(), got.Status, got.Body, err)
				}
			}
		}
	}
}

// Ids of one thing where those of another belong.
func TestCrossedThings(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	_, rival := s.Join("rival@example.org")
	ours, theirs := s.Concert(admin, 10, 0), s.Concert(rival, 10, 0)
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(ours, 1))
	ticket := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", "/v1/orders/"+order.ID.String()+"/tickets", admin, nil).Items[0]

	mixed := api.NewOrder{EventID: ours.ID, Items: []api.NewOrderItem{{TicketTypeID: theirs.TicketTypes[0].ID, Quantity: 1}}}
	if got, err := s.Send("POST", "/v1/orders", rival, mixed); err != nil || got.Status != 400 && got.Status != 404 {
		t.Errorf("an order of one event for seats of another: %d %s", got.Status, got.Body)
	}
	path := "/v1/events/" + theirs.ID.String()
	s.Refused("not_found", "PATCH", path+"/ticket-types/"+ours.TicketTypes[0].ID.String(), rival, map[string]string{"name": "Mine"})
	s.Refused("not_found", "DELETE", path+"/ticket-types/"+ours.TicketTypes[0].ID.String(), rival, nil)
	if got := systemtest.Call[api.AdmissionResult](s, 200, "POST", path+"/admissions", rival, api.Admission{Code: ticket.Code}); got.Result != api.WrongEvent || got.Ticket != nil {
		t.Errorf("a ticket at the door of another event: %+v", got)
	}
	if got := systemtest.Call[api.AdmissionResult](s, 200, "POST", "/v1/events/"+ours.ID.String()+"/admissions", admin, api.Admission{Code: ticket.Code}); got.Result != api.Admitted {
		t.Errorf("the same ticket at its own door: %+v", got)
	}
	for _, d := range api.All() { // an id of every wrong kind
		if d.Access == rpc.Internal {
			continue
		}
		for f := range fields(d.Request) {
			kind := reflect.Zero(f.Type).Interface()
			for _, id := range []any{ours.ID, ours.TicketTypes[0].ID, order.ID, ticket.ID, order.UserID} {
				if f.Tag.Get("path") == "" || reflect.TypeOf(id) == reflect.TypeOf(kind) || f.Type.Kind() == reflect.String && f.Type.Name() == "string" {
					continue
				}
				target := mangled(d.Path, fmt.Sprint(id))
				if got, err := s.Send(d.Method, target, admin, nil); err != nil || got.Status != 400 && got.Status != 404 {
					t.Errorf("%s %s: %d %s", d.Method, target, got.Status, got.Body)
				}
			}
		}
	}
}
