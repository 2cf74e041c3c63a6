package openapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Example is a call that a system with the demo accepts after those before it. Administrators send those of endpoints
// for them, the person of the last login all others.
type Example struct {
	Endpoint rpc.Descriptor
	Request  any
}

// Call returns where the example is sent, with its query, and its JSON body if it has one.
func (e Example) Call() (target string, body []byte, err error) {
	target, query := e.Endpoint.Path, url.Values{}
	v := reflect.ValueOf(e.Request)
	for _, f := range codec.Fields(v.Type()) {
		value := v.FieldByIndex(f.Path)
		switch text := fmt.Sprint(value.Interface()); {
		case f.In == codec.Path:
			target = strings.Replace(target, "{"+f.Key+"}", text, 1)
		case f.In == codec.Raw:
			body = value.Bytes()
		case f.In == codec.Query && !value.IsZero():
			query.Set(f.Key, text)
		}
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	if codec.NewSchemas("").Request(v.Type()) != nil {
		body, err = json.Marshal(e.Request)
	}
	return target, body, err
}

func example[Req, Resp any](e rpc.Endpoint[Req, Resp], req Req) Example {
	return Example{e.Describe(), req}
}

// The ids of examples. Each stands for the last one of its kind that an answer had: what a client has just made or
// read.
const (
	anEvent     ids.Event      = "evt_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aWebhook    ids.Webhook    = "whk_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aKey        ids.Key        = "key_01k3q8v5z7m2n4p6r8s9t0w1xy"
	anOrganizer ids.Organizer  = "org_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aType       ids.TicketType = "tty_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aUser       ids.User       = "usr_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aSession    ids.Session    = "ses_01k3q8v5z7m2n4p6r8s9t0w1xy"
	anOrder     ids.Order      = "ord_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aTicket     ids.Ticket     = "tkt_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aPayment    ids.Payment    = "pay_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aVenue      ids.Venue      = "ven_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aLease      ids.Lease      = "lse_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aPass       ids.Pass       = "pas_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aScan       ids.Admission  = "adm_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aFactor     ids.Factor     = "fct_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aRefund     ids.Refund     = "rfd_01k3q8v5z7m2n4p6r8s9t0w1xy"
	aPayout     ids.Payout     = "pyo_01k3q8v5z7m2n4p6r8s9t0w1xy"
	lastToken                  = "the refresh_token of the last answer that had one"
	lastSecret                 = "the secret of the last answer that had one"
	lastCode                   = "the code of the last answer that had one"
)

const aProvider ids.IdentityProvider = "idp_01k3q8v5z7m2n4p6r8s9t0w1xy"

const (
	jo          = "jo@example.org"
	kim         = "kim@example.org"
	oldPassword = "six candles on a cake"
	newPassword = "seven candles on a cake"
)

// Examples returns the examples. The first of each endpoint is the one that the document shows.
func Examples() []Example {
	var all []Example
	for _, part := range [][]Example{account(), organizer(), event(), promo(), purchase(), tickets(), invoices(),
		orders(),
		counter(), numbers(),
		messages(), manual(), settings(), ending(), planning(), closing()} {
		all = append(all, part...)
	}
	return all
}

func account() []Example {
	name := "Jo Star-Fisher"
	return []Example{
		example(api.RegisterUser, api.Register{Email: kim, Password: oldPassword, Name: "Kim Day"}),
		example(api.RegisterUser, api.Register{Email: jo, Password: oldPassword, Name: "Jo Star"}),
		example(api.CreateSession, api.Login{Email: jo, Password: oldPassword}),
		example(api.RefreshSession, api.Refresh{RefreshToken: lastToken}),
		example(api.GetMe, rpc.None{}),
		example(api.UpdateMe, api.UpdateProfile{Name: &name, Profile: codec.To(api.Profile{Phone: "+4930123456",
			Language: "de", Timezone: "Europe/Berlin", BirthYear: 1990, City: "Berlin", Country: "DE",
			ShareDemographics: true})}),
		example(api.RequestEmailConfirmation, rpc.None{}),
		example(api.ListSessions, api.SessionQuery{Page: api.Page{Limit: 10}}),
		example(api.ProveIdentity, api.Proof{Password: oldPassword}),
		example(api.AddSecondFactor, api.NewFactor{Name: "My telephone"}),
		example(api.ListSecondFactors, rpc.None{}),
		example(api.GetPasskeyOptions, api.PasskeyRequest{}),
		example(api.GetNewPasskeyOptions, rpc.None{}),
		example(api.ListPasskeys, rpc.None{}),
		example(api.ListSignInProviders, rpc.None{}), example(api.ListIdentities, rpc.None{}),
		example(api.DeleteSecondFactor, api.FactorRef{ID: aFactor}),
		example(api.GetKeys, rpc.None{}),
		example(api.ExportMe, rpc.None{}),
	}
}

func organizer() []Example {
	kassel, hour, on := "kassel-opera", 3600, true
	return []Example{
		example(api.CreateOrganizer, api.NewOrganizer{Name: "Opera Kassel", LegalName: "Oper Kassel gGmbH",
			Address: "Friedrichsplatz 15\n34117 Kassel", Country: "DE", TaxID: "DE123456788", Currency: "EUR",
			Language: "de", Timezone: "Europe/Berlin"}),
		example(api.ListOrganizers, api.Page{}),
		example(api.GetOrganizer, api.OrganizerRef{ID: anOrganizer}),
		example(api.UpdateOrganizer, api.PatchOrganizer{ID: anOrganizer, Slug: &kassel,
			Email: codec.To("tickets@example.org")}),
		example(api.PutRole, api.SetRole{ID: anOrganizer, Name: "box-office",
			Permissions: []api.Permission{api.MaySell, api.MayAdmit, api.MayReadOrders}}),
		example(api.ListRoles, api.OrganizerRef{ID: anOrganizer}),
		example(api.InviteOrganizerMember, api.OrganizerInvite{ID: anOrganizer, Email: "robin@example.org",
			Role: "box-office"}),
		example(api.ListOrganizerMembers, api.OrganizerRef{ID: anOrganizer}),
		example(api.DeleteOrganizerInvitation, api.OrganizerInvitationRef{ID: anOrganizer,
			Email: "robin@example.org"}),
		example(api.DeleteRole, api.RoleRef{ID: anOrganizer, Name: "box-office"}),
		example(api.PutOrganizerMember, api.SetOrganizerMember{ID: anOrganizer, UserID: aUser, Role: api.RoleOwner}),
		example(api.CreateAPIKey, api.NewAPIKey{ID: anOrganizer, Name: "Box office of the opera",
			Scopes: []string{api.ScopeSell, api.ScopeDoor}}),
		example(api.ListAPIKeys, api.OrganizerRef{ID: anOrganizer}),
		example(api.UpdateAPIKey, api.PatchAPIKey{ID: anOrganizer, KeyID: aKey, Name: &kassel}),
		example(api.RotateAPIKey, api.RotateKey{ID: anOrganizer, KeyID: aKey, Grace: &hour}),
		example(api.CreateWebhook, api.NewWebhook{ID: anOrganizer, URL: "https://hooks.example.org/starlight",
			Name: "Bookkeeping", Topics: []string{api.HookOrderPaid, api.HookOrderRefunded}}),
		example(api.ListWebhooks, api.OrganizerRef{ID: anOrganizer}),
		example(api.GetWebhook, api.WebhookRef{ID: anOrganizer, WebhookID: aWebhook}),
		example(api.UpdateWebhook, api.PatchWebhook{ID: anOrganizer, WebhookID: aWebhook, Enabled: &on}),
		example(api.RotateWebhookSecret, api.RotateWebhook{ID: anOrganizer, WebhookID: aWebhook, Grace: &hour}),
		example(api.ReplayWebhookFrom, api.ReplayWebhook{ID: anOrganizer, WebhookID: aWebhook,
			From: time.Date(2040, 6, 1, 8, 0, 0, 0, time.UTC)}),
		example(api.ListWebhookAttempts, api.WebhookPage{ID: anOrganizer, WebhookID: aWebhook}),
		example(api.DeleteWebhook, api.WebhookRef{ID: anOrganizer, WebhookID: aWebhook}),
		example(api.DeleteAPIKey, api.APIKeyRef{ID: anOrganizer, KeyID: aKey}),
		example(api.TransferOrganizer, api.NewOwner{ID: anOrganizer, UserID: aUser}),
	}
}

// concert is a new event. Its date is far away, for the document does not change from day to day.
func concert() api.NewEvent {
	latitude, longitude := 52.5101, 13.3698
	return api.NewEvent{Name: "Open Air under the Stars",
		Description: "Holst, The Planets, with the lights off.", Category: "concert",
		StartsAt: time.Date(2040, 6, 1, 18, 0, 0, 0, time.UTC), EndsAt: time.Date(2040, 6, 1, 21, 0, 0, 0,
			time.UTC), Timezone: "Europe/Berlin",
		Location: api.Location{Name: "Philharmonie", Address: "Herbert-von-Karajan-Straße 1", City: "Berlin",
			Country: "DE", Latitude: &latitude, Longitude: &longitude},
		Language: "en", Capacity: 2000, TicketTypes: []api.NewTicketType{{Name: "Standard",
			Price: api.Money{Amount: 2500, Currency: "EUR"}, Quantity: 1500, MaxPerOrder: 10}},
		OrderRules: api.OrderRules{MaxPerPerson: 20, Cancellation: api.CancellationPolicy{SelfService: true,
			MinutesBefore: 2880, FeePercent: 10}}}
}

func event() []Example {
	start := time.Date(2025, 6, 1, 8, 0, 0, 0, time.UTC)
	quantity, on := 150, true
	return []Example{
		example(api.CreateVenue, api.NewVenue{Name: "Philharmonie", Address: "Herbert-von-Karajan-Straße 1, Berlin",
			Timezone: "Europe/Berlin", Gates: []string{"north", "south"}}),
		example(api.ListVenues, api.Page{}),
		example(api.GetVenue, api.VenueRef{ID: aVenue}),
		example(api.UpdateVenue, api.PatchVenue{ID: aVenue, Gates: codec.To([]string{"north", "south", "west"})}),
		example(api.CreateVenueCredentials, api.VenueRef{ID: aVenue}),
		example(api.GetVenueStatus, api.VenueRef{ID: aVenue}),
		example(api.DeleteVenueCredentials, api.VenueRef{ID: aVenue}),
		example(api.ReleaseEdge, api.VenueRef{ID: aVenue}),
		example(api.CloseVenue, api.NewVenueClosure{VenueID: aVenue, Reason: "the computer was stolen"}),
		example(api.ListVenueClosures, api.VenueClosurePage{VenueID: aVenue, Page: api.Page{Limit: 10}}),
		example(api.ListEvents, api.EventQuery{Page: api.Page{Limit: 10}}),
		example(api.GetOrganizerProfile, api.OrganizerName{Name: anOrganizer.String()}),
		example(api.CreateEvent, concert()),
		example(api.UpdateOrganizer, api.PatchOrganizer{ID: anOrganizer, LegalName: codec.To("Jo Star"),
			Address: codec.To("Long Road 1\n34117 Kassel"), Country: codec.To("DE"), TaxID: codec.To("DE123456788"),
			Invoices: &on, InvoicePrefix: codec.To("KO")}),
		example(api.GetEvent, api.EventRef{ID: anEvent}),
		example(api.UpdateEvent, api.PatchEvent{ID: anEvent,
			Description: codec.To("Holst, The Planets, with the lights off. Bring a blanket."),
			Capacity:    codec.To(2200)}),
		example(api.DeleteEventImage, api.EventImageRef{ID: anEvent}),
		example(api.DeleteLogo, api.OrganizerRef{ID: anOrganizer}),
		example(api.CreateTicketType, api.AddTicketType{EventID: anEvent,
			NewTicketType: api.NewTicketType{Name: "Balcony", Price: api.Money{Amount: 4000, Currency: "EUR"},
				Quantity: 100, SalesStart: &start,
				Translations: []api.TypeTranslation{{Language: "de", Name: "Balkon"},
					{Language: "fr", Name: "Balcon"}}}}),
		example(api.UpdateTicketType, api.PatchTicketType{EventID: anEvent, ID: aType, Quantity: &quantity,
			SalesStart: codec.Clear[time.Time]()}),
		example(api.DeleteTicketType, api.TicketTypeRef{EventID: anEvent, ID: aType}),
		example(api.GetReadiness, api.EventRef{ID: anEvent}),
		example(api.PublishEvent, api.EventToPublish{ID: anEvent}),
		example(api.PutQuestions, api.QuestionsOf{EventID: anEvent, Questions: asked()}),
		example(api.GetQuestions, api.EventRef{ID: anEvent}),
		example(api.GetAvailability, api.AvailabilityQuery{ID: anEvent}),
		example(api.CreateLease, api.NewLease{EventID: anEvent, VenueID: aVenue, TicketTypeID: aType, Quantity: 20}),
		example(api.ListLeases, api.EventRef{ID: anEvent}),
		example(api.ResizeLease, api.PatchLease{EventID: anEvent, LeaseID: aLease, Quantity: 30}),
		example(api.CloseLease, api.LeaseToClose{EventID: anEvent, LeaseID: aLease}),
		example(api.ListFlaggedSales, api.EventPage{EventID: anEvent, Page: api.Page{Limit: 10}}),
		example(api.GetCalendar, api.EventRef{ID: anEvent}),
		example(api.InviteTeamMember, api.Invite{EventID: anEvent, Email: "robin@example.org", Role: api.RoleDoor}),
		example(api.ListTeam, api.EventRef{ID: anEvent}),
		example(api.DeleteInvitation, api.InvitationRef{EventID: anEvent, Email: "robin@example.org"}),
		example(api.CreatePass, api.NewPass{EventID: anEvent, Name: "Scanner 1", Gate: "north"}),
		example(api.PairDevice, api.PairRequest{Code: lastCode}),
		example(api.ListPasses, api.EventRef{ID: anEvent}),
	}
}

func order() Example {
	return example(api.CreateOrder,
		api.NewOrder{EventID: anEvent, Items: []api.NewOrderItem{{TicketTypeID: aType, Quantity: 2}},
			Attendees: []api.Attendee{{Name: "Jo Star", Email: jo}, {Name: "A Friend"}}})
}

func purchase() []Example {
	return []Example{
		example(api.PutSetting, api.SetSetting{Key: api.SandboxEnabled.Key(), Value: "true"}),
		order(),
		example(api.GetOrder, api.OrderRef{ID: anOrder}),
		example(api.PutBilling, api.NewBilling{ID: anOrder, Billing: api.Billing{Name: "Kim Day",
			Street: "Long Road 1", Postcode: "34117", City: "Kassel", Country: "DE"}}),
		example(api.CreatePayment, api.NewPayment{OrderID: anOrder, Provider: "sandbox"}),
		example(api.GetPayment, api.PaymentRef{ID: aPayment}),
		example(api.GetSandboxCheckout, api.PaymentRef{ID: aPayment}),
		example(api.DecideSandboxPayment, api.SandboxOutcome{ID: aPayment, Outcome: "succeeded"}),
	}
}

func tickets() []Example {
	return []Example{
		example(api.ListOrderTickets, api.OrderRef{ID: anOrder}),
		example(api.GetTicket, api.TicketRef{ID: aTicket}),
		example(api.GetTicketQR, api.TicketRef{ID: aTicket}),
		example(api.GetTicketPages, api.OrderRef{ID: anOrder}),
		example(api.UpdateTicket, api.NewHolder{ID: aTicket, Holder: api.Attendee{Name: "Another Friend",
			Email: "friend@example.org"}}),
		example(api.ListTicketOffers, rpc.None{}),
	}
}

func numbers() []Example {
	at := api.EventRef{ID: anEvent}
	return []Example{
		example(api.GetEventAnalytics, at),
		example(api.ListEventMoney, at),
		example(api.ListOrganizerMoney, api.OrganizerRef{ID: anOrganizer}),
		example(api.GetSales, api.SeriesQuery{ID: anEvent, Interval: "day"}),
		example(api.GetAttendance, api.SeriesQuery{ID: anEvent, Interval: "hour"}),
		example(api.GetFunnel, at),
		example(api.GetBuyers, at),
		example(api.GetForecast, at),
		example(api.FollowAnalytics, at),
		example(api.GetReport, api.ReportRef{ID: anEvent, File: "sales.csv", Interval: "day"}),
		example(api.GetOverview, rpc.None{}),
		example(api.CompareEvents, api.CompareQuery{}),
	}
}

func messages() []Example {
	const device = "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV" // and its keys: RFC 8291, 5
	return []Example{
		example(api.ListNotifications, api.NotificationQuery{Page: api.Page{Limit: 10}, Unread: true}),
		example(api.MarkNotificationsRead, api.MarkRead{}),
		example(api.CreateLiveTicket, rpc.None{}),
		example(api.FollowNotifications, rpc.None{}),
		example(api.GetPreferences, rpc.None{}),
		example(api.PutPreferences, api.Preferences{Kinds: []api.Preference{{Kind: api.AboutReminders,
			Push: true, Inbox: true}}}),
		example(api.GetPushKey, rpc.None{}),
		example(api.CreatePushSubscription, api.NewPushSubscription{Endpoint: device, Keys: api.PushKeys{
			P256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
			Auth:   "BTBZMqHH6r4Tts7J_aSIgg"}}),
		example(api.ListPushSubscriptions, rpc.None{}),
		example(api.DeletePushSubscription, api.PushSubscriptionRef{Endpoint: device}),
		example(api.CreateAnnouncement, api.NewAnnouncement{EventID: anEvent, Subject: "Doors open at seven",
			Text: "Please come early.\n\nThe bar is open."}),
		example(api.PreviewAnnouncement, api.NewAnnouncement{EventID: anEvent, Subject: "Doors open at seven",
			Text: "Please come early."}),
		example(api.ListAnnouncements, api.EventPage{EventID: anEvent, Page: api.Page{Limit: 10}}),
		example(api.ListTemplates, rpc.None{}),
		example(api.PreviewTemplate, api.PreviewOf{Name: "order_paid", Language: "de"}),
		example(api.ListDeadLetters, api.Page{Limit: 10}),
	}
}

// manual is a purchase by bank transfer.
func manual() []Example {
	return []Example{
		example(api.PutSetting, api.SetSetting{Key: api.ManualEnabled.Key(), Value: "true"}),
		order(),
		example(api.CreatePayment, api.NewPayment{OrderID: anOrder, Provider: "manual"}),
		example(api.GetManualCheckout, api.PaymentRef{ID: aPayment}),
		example(api.GetManualPayment, api.ManualPaymentRef{Reference: aPayment.String()}),
		example(api.MarkPaymentPaid, api.MarkPaid{ID: aPayment, Amount: api.Money{Amount: 5000, Currency: "EUR"}}),
		example(api.ListOrganizerBalances, api.OrganizerRef{ID: anOrganizer}),
		example(api.ListDuePayouts, api.Page{}),
		example(api.CreatePayout, api.NewPayout{OrganizerID: anOrganizer,
			Amount: api.Money{Amount: 2000, Currency: "EUR"}, Reference: "Tickets until May"}),
		example(api.ReturnPayout, api.PayoutRef{ID: aPayout}),
		example(api.ListPayouts, api.PayoutPage{OrganizerID: anOrganizer}),
		example(api.CreateRefund, api.NewRefund{PaymentID: aPayment, Reason: "the buyer is ill"}),
		example(api.MarkRefundPaid, api.RefundRef{PaymentID: aPayment, RefundID: aRefund}),
		example(api.GetSandboxReport, rpc.None{}),
		example(api.GetTrialBalance, rpc.None{}),
	}
}

func settings() []Example {
	key := api.HoldTTL.Key()
	return []Example{
		example(api.ListAuditLog, api.AuditQuery{Act: "payment.refund"}),
		example(api.ListEventAuditLog, api.EventAuditQuery{ID: anEvent}),
		example(api.ListOrganizerAuditLog, api.OrganizerAuditQuery{ID: anOrganizer}),
		example(api.GetOrganizerAuditCSV, api.OrganizerAuditExport{ID: anOrganizer}),
		example(api.ListSettings, rpc.None{}),
		example(api.GetSetting, api.SettingRef{Key: key}),
		example(api.PutSetting, api.SetSetting{Key: key, Value: "15m"}),
		example(api.PutSetting, api.SetSetting{Key: key, Value: "20m"}),
		example(api.GetSettingHistory, api.SettingRef{Key: key}),
		example(api.RollbackToSetting, api.RollbackSetting{Key: key}),
		example(api.DeleteSetting, api.SettingRef{Key: key}),
		example(api.ListServices, rpc.None{}),
		example(api.GetMesh, rpc.None{}),
		example(api.GetTopology, api.TopologyQuery{Format: "mermaid"}),
		example(api.ListLogs, api.LogQuery{Level: "warn", Page: api.Page{Limit: 10}}),
	}
}

// ending is what hands things over, and what administrators do about accounts.
func ending() []Example {
	off := false
	return []Example{
		example(api.ListUsers, api.ListUsersQuery{Page: api.Page{Limit: 10}, Q: "kim"}),
		example(api.GetUser, api.UserRef{ID: aUser}),
		example(api.ListUserSessions, api.UserSessionQuery{ID: aUser}),
		example(api.EndUserSessions, api.UserRef{ID: aUser}),
		example(api.LockUser, api.UserRef{ID: aUser}), example(api.UnlockUser, api.UserRef{ID: aUser}),
		example(api.ResetSecondFactors, api.UserRef{ID: aUser}),
		example(api.CreateIdentityProvider, api.NewIdentityProvider{Name: "Opera Kassel",
			Issuer: "https://login.example.org", ClientID: "starlight", ClientSecret: "what the provider has shown",
			RedirectURIs: []string{"https://shop.example.org/account"}, Domains: []string{"example.org"},
			CreatesAccounts: true, SecondFactor: []string{"mfa", "otp", "hwk"}}),
		example(api.ListIdentityProviders, rpc.None{}),
		example(api.GetIdentityProvider, api.IdentityProviderRef{ID: aProvider}),
		example(api.UpdateIdentityProvider, api.PatchIdentityProvider{ID: aProvider, Enabled: &off}),
		example(api.DeleteIdentityProvider, api.IdentityProviderRef{ID: aProvider}),
		example(api.SetUserRoles, api.SetRoles{ID: aUser, Roles: []string{}}),
		example(api.PutTeamMember, api.SetTeamMember{EventID: anEvent, UserID: aUser, Role: api.RoleManager}),
		example(api.DeleteTeamMember, api.TeamMemberRef{EventID: anEvent, UserID: aUser}),
		example(api.PutTeamMember, api.SetTeamMember{EventID: anEvent, UserID: aUser, Role: api.RoleManager}),
		example(api.PutOrganizer, api.SetOrganizer{EventID: anEvent, UserID: aUser}),
	}
}

// closing is what ends things: events are cancelled and deleted, and an account is closed.
func closing() []Example {
	return []Example{
		example(api.CreateEvent, concert()),
		example(api.PublishEvent, api.EventToPublish{ID: anEvent}),
		example(api.CancelEvent, api.CancelEventRequest{ID: anEvent, Reason: "A storm is coming."}),
		example(api.CreateEvent, concert()),
		example(api.DeleteEvent, api.EventRef{ID: anEvent}),
		example(api.RequestPasswordReset, api.RequestReset{Email: jo}),
		example(api.ChangeMyPassword, api.ChangePassword{CurrentPassword: oldPassword, NewPassword: newPassword}),
		example(api.EndSession, rpc.None{}),
		example(api.CreateSession, api.Login{Email: jo, Password: newPassword}),
		example(api.EndAllSessions, rpc.None{}),
		example(api.CreateSession, api.Login{Email: jo, Password: newPassword}),
		example(api.CreateSession, api.Login{Email: jo, Password: newPassword}),
		example(api.ListSessions, api.SessionQuery{Page: api.Page{Limit: 10}}),
		example(api.EndOneSession, api.SessionRef{ID: aSession}), // the oldest, by the list
		example(api.DeleteMe, api.DeleteAccount{Password: newPassword}),
	}
}
