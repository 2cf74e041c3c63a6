package api

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/phone"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/token"
)

// The live settings. `nats kv put config KEY VALUE` and PUT /v1/config/KEY change them everywhere within a second.
var (
	HoldTTL = settings.Duration("ticketing.hold_ttl", 10*time.Minute,
		"How long an unpaid order keeps its seats.", settings.Between(time.Second, 24*time.Hour))
	MaxPerOrder = settings.Int("ticketing.max_per_order", 20,
		"The most tickets one order may have.", settings.Between(1, 1000))
	MaxOpenOrders = settings.Int("ticketing.max_open_orders", 3,
		"How many unpaid orders a person may have at a time; 0 means any number.", settings.Between(0, 100000))
	MaxUnpaidSeats = settings.Int("ticketing.max_unpaid_seats", 20,
		"How many unpaid tickets of an event a person may have at a time; 0 means any number.",
		settings.Between(0, 100000))
	MaxManualSeats = settings.Int(
		"ticketing.max_manual_seats",
		6,
		"How many tickets of an event a person may have at a time that wait for a bank transfer or the box office; 0 "+
			"means any number.",
		settings.Between(0, 100000),
	)
	RenewalPause = settings.Duration("ticketing.renewal_pause", time.Minute,
		"How long a person has to wait with another order for an event after one that was not paid and had kept its "+
			"seats for half of ticketing.hold_ttl or more: others go first; 0s means not at all.",
		settings.Between(time.Duration(0), time.Hour))
	MaxGuestOrders = settings.Int("ticketing.max_guest_orders", 20,
		"Orders without an account that one mail address may be given for in a day; 0 means any number.",
		settings.Between(0, 1000))
	MaxGuestsPerAddress = settings.Int("ticketing.max_guests_per_address", 50,
		"Unpaid orders without an account that may be there at a time from one network address; 0 means any number.",
		settings.Between(0, 100000))
	PaymentGrace = settings.Duration("ticketing.payment_grace", 15*time.Minute,
		"How long beyond its time an order keeps its seats while its payment cannot be ended at the provider.",
		settings.Between(time.Duration(0), 24*time.Hour))
	DoorsOpen = settings.Duration("ticketing.doors_open", 0,
		"How long before the start of an event tickets are admitted; 0s means at any time.",
		settings.Between(time.Duration(0), 30*24*time.Hour))
	AttendeeRetention = settings.Duration("ticketing.attendee_retention", 180*24*time.Hour,
		"How long after the end of an event the names and mail addresses of its attendees are kept.",
		settings.Between(24*time.Hour, 10*365*24*time.Hour)).ForAdmins()
	ScanRetention = settings.Duration("ticketing.scan_retention", 180*24*time.Hour,
		"How long after the end of an event it is kept who scanned at its doors.",
		settings.Between(24*time.Hour, 10*365*24*time.Hour)).ForAdmins()
	AnswerRetention = settings.Duration("ticketing.answer_retention", 90*24*time.Hour,
		"How long after the end of an event the answers of its buyers are kept, unless the question says otherwise.",
		settings.Between(24*time.Hour, 10*365*24*time.Hour)).ForAdmins()
	DoorsClose = settings.Duration(
		"ticketing.doors_close",
		12*time.Hour,
		"How long after the end of an event tickets are admitted.",
		settings.Between(time.Duration(0), 30*24*time.Hour),
	)

	PaymentProvider = settings.String("payment.provider", "sandbox",
		"The payment provider of orders that name none.", 40).ForAdmins()
	SandboxEnabled = settings.Bool("payment.sandbox", false,
		"Whether the built-in sandbox provider accepts payments. It moves no money: never true where real tickets "+
			"are sold.").ForAdmins()
	SandboxChallenge = settings.Bool("payment.sandbox_challenge", false,
		"Whether a payer of the sandbox has to pass a second step, as with 3-D Secure.")
	SandboxCaptureDelay = settings.Duration("payment.sandbox_capture_delay", 0,
		"How long after the payer's consent the sandbox takes the money, as a slow bank does.",
		settings.Between(time.Duration(0), time.Hour))
	SandboxCallbackDelay = settings.Duration("payment.sandbox_callback_delay", 0,
		"How long the sandbox waits before it sends a callback.", settings.Between(time.Duration(0), time.Hour))
	SandboxShuffle = settings.Duration("payment.sandbox_shuffle", 0,
		"Up to how much longer a callback of the sandbox waits, at random: they come in another order.",
		settings.Between(time.Duration(0), time.Hour))
	SandboxCopies = settings.Int("payment.sandbox_copies", 1,
		"How often the sandbox sends each callback.", settings.Between(1, 10))
	SandboxLost = settings.Int("payment.sandbox_lost", 0,
		"Of a hundred callbacks of the sandbox, how many are never sent.", settings.Between(0, 100))
	SandboxTimeouts = settings.Int("payment.sandbox_timeouts", 0,
		"Of a hundred calls of the sandbox, how many do what was asked and then do not answer.",
		settings.Between(0, 100))
	SandboxWrongAmount = settings.Int("payment.sandbox_wrong_amount", 0,
		"Of a hundred payments at the sandbox, how many collect another amount than was asked for.",
		settings.Between(0, 100))
	SandboxChangesMind = settings.Int(
		"payment.sandbox_changes_mind",
		0,
		"Of a hundred payments that were declined or cancelled at the sandbox, how many collect the money after all, "+
			"seconds later.",
		settings.Between(0, 100),
	)
	ManualEnabled = settings.Bool(
		"payment.manual",
		false,
		"Whether orders may be paid by bank transfer or at the box office. Such an order keeps its seats for as long "+
			"as payment.manual_ttl, unpaid.",
	).ForAdmins()
	ManualTTL = settings.Duration("payment.manual_ttl", 7*24*time.Hour,
		"How long a buyer may take to pay by bank transfer or at the box office.",
		settings.Between(time.Minute, 90*24*time.Hour))
	ManualInstructions = settings.String(
		"payment.manual_instructions",
		"",
		"Where to pay by bank transfer or at the box office, for buyers to read: holder, bank, account. A | begins a "+
			"new line.",
		2000,
	).ForAdmins()
	PaymentPollAfter = settings.Duration("payment.poll_after", 30*time.Second,
		"How long a payment may be unfinished before the provider is asked, in case a callback was lost.",
		settings.Between(time.Second, time.Hour))
	RefundStepUp = settings.Int("payment.refund_step_up", 20000,
		"Refunds of more than this in a day (UTC) by one person, in minor units of their currency, need a fresh "+
			"proof of who makes them; 0 means "+
			"that none do.", settings.Between(0, 1000000000)).ForAdmins()
	CallbackRetention = settings.Duration("payment.callback_retention", 30*24*time.Hour,
		"How long the callbacks of payment providers are kept once they have been dealt with. Providers repeat a "+
			"callback for up to three days.",
		settings.Between(4*24*time.Hour, 10*365*24*time.Hour)).ForAdmins()

	ReasonRetention = settings.Duration("payment.reason_retention", 180*24*time.Hour,
		"How long after a refund the reason is kept that a person wrote.",
		settings.Between(24*time.Hour, 10*365*24*time.Hour)).ForAdmins()

	AccessTTL = settings.Duration("user.access_ttl", 15*time.Minute,
		"How long an access token is valid.", settings.Between(10*time.Second, token.Longest)).ForAdmins()
	AccessKeyLifetime = settings.Duration("user.key_lifetime", 90*24*time.Hour,
		"After how long the key that signs access tokens is followed by a new one.",
		settings.Between(24*time.Hour, 10*365*24*time.Hour)).ForAdmins()
	TicketKeyLifetime = settings.Duration("ticketing.key_lifetime", 365*24*time.Hour,
		"After how long the key that signs tickets is followed by a new one. Tickets of earlier keys stay good.",
		settings.Between(24*time.Hour, 10*365*24*time.Hour)).ForAdmins()
	RefreshTTL = settings.Duration("user.refresh_ttl", 30*24*time.Hour,
		"How long a session lasts without being refreshed.",
		settings.Between(time.Minute, 365*24*time.Hour)).ForAdmins()
	SessionTTL = settings.Duration("user.session_ttl", 180*24*time.Hour,
		"How long a session lasts at most, however often it is refreshed.",
		settings.Between(time.Hour, 10*365*24*time.Hour)).ForAdmins()
	MaxSessions = settings.Int(
		"user.max_sessions",
		100,
		"In how many sessions one person is signed in at a time: one more ends the one that was not used for longest; "+
			"0 means any number.",
		settings.Between(0, 1000),
	)
	PasswordWords = settings.CheckedString("user.password_words", "",
		"Words that people here expect, such as the names of the organization and its places, with commas between: "+
			"a new password of little else is refused.", 1000, func(string) error { return nil }).ForAdmins()
	PasswordBits = settings.Int("user.password_bits", 20,
		"How hard to guess a new password is at least, by estimate: it withstands two to the power of this many "+
			"guesses; 0 means that the length will do.", settings.Between(0, 60)).ForAdmins()
	ChallengeBits = settings.Int("user.challenge_bits", 18,
		"How hard the challenge is that clients solve before they log in or register while very many do: each one "+
			"more doubles the work, and more load adds up to 6; 0 means that there is none.", settings.Between(0, 30))
	StepUpTTL = settings.Duration("user.step_up_ttl", 10*time.Minute,
		"How long a login or a proof counts for what asks for a fresh one: roles, settings, larger refunds, second "+
			"factors.", settings.Between(time.Minute, 24*time.Hour)).ForAdmins()
	AdminFactor = settings.Bool("user.admin_second_factor", false,
		"Whether administrators must have a second factor. One without may do nothing but enrol one.").ForAdmins()
	SiteName = settings.String("user.site_name", "Starlight",
		"What people know the system by: authenticator apps and passkeys show it.", 60).ForAdmins()
	RelyingParty = settings.CheckedString("user.relying_party", "localhost",
		"The domain that passkeys are for: the host of the pages that people sign in at, or a domain above it. "+
			"Passkeys for another one are lost when it changes.", 253, checkHost).ForAdmins()
	RelyingPartyOrigins = settings.CheckedString("user.relying_party_origins", "http://localhost:8080",
		"The pages at which passkeys may be used: \"https://shop.example.org\", several with commas between.", 1000,
		checkOrigins).ForAdmins()

	RatePerAddress = settings.Int("gateway.rate_per_address", 1000,
		"Requests a second that one address may make; 0 means any number.", settings.Between(0, 1000000))
	RatePerPerson = settings.Int("gateway.rate_per_person", 500,
		"Requests a second that one person may make; 0 means any number.", settings.Between(0, 1000000))
	RatePerKey = settings.Int("gateway.rate_per_key", 200,
		"Requests a second that one key of an organizer may make; 0 means any number.", settings.Between(0, 1000000))
	RateLogin = settings.Int("gateway.rate_login", 60,
		"Requests a minute that one address may make to the endpoints that check passwords and tokens; 0 means any "+
			"number.", settings.Between(0, 1000000))
	RateGuests = settings.Int("gateway.rate_guests", 120,
		"Orders a minute that one address may try to make without an account; 0 means any number.",
		settings.Between(0, 1000000))
	ViewsPerAddress = settings.Int("gateway.views_per_address", 30,
		"How often in a minute a view of an event from one address counts for its numbers; 0 means always.",
		settings.Between(0, 1000000))
	ConnectionsPerAddress = settings.Int("gateway.connections_per_address", 1000,
		"Connections that one address may have open at a gateway; 0 means any number. It does not bind trusted "+
			"proxies and the machine itself.", settings.Between(0, 1000000))
	AllowedServices = settings.CheckedString(
		"gateway.services",
		"",
		"Third-party services that are served below /x/NAME: \"hello\", several with commas between; nothing means "+
			"none.", 1000,
		checkServices,
	).ForAdmins()
	Origins = settings.CheckedString("gateway.origins", "",
		"Web pages of which origins may call from a browser: \"https://shop.example.org\", several with commas "+
			"between, or * for all; nothing means those of the gateway alone.", 1000, checkOrigins).ForAdmins()

	SMSCountries = settings.CheckedString("notification.sms_countries", "",
		"To the mobile phones of which countries text messages go, ISO 3166-1 alpha-2: \"DE,AT,CH\", or * for all; "+
			"nothing means none.", 1000, phone.CheckCountries)

	SMSPerPerson = settings.Int("notification.sms_per_person", 10,
		"Text messages to one person in a day (UTC); 0 means any number.", settings.Between(0, 1_000_000))
	SMSPerDay = settings.Int("notification.sms_per_day", 1000,
		"Text messages to all in a day (UTC); 0 means any number.", settings.Between(0, 1_000_000_000))
	GuestMails = settings.Int(
		"notification.guest_mails",
		10,
		"Mails about orders without an account in a day (UTC) to one address that has not been confirmed; those about "+
			"what was paid come beside. 0 means any number.",
		settings.Between(0, 1_000_000),
	)
	MailsPerPerson = settings.Int("notification.mails_per_person", 50,
		"Mails to one person in a day (UTC) that others cause: announcements, changes, reminders, tickets that were "+
			"given, ends of orders. More are in the list of messages alone. 0 means any number.",
		settings.Between(0, 1_000_000))
	AnnouncementsPerEvent = settings.Int("notification.announcements_per_event", 5,
		"Announcements of one event in a day (UTC); 0 means any number.", settings.Between(0, 1_000_000))
	MailsPerOrganizer = settings.Int("notification.mails_per_organizer", 50_000,
		"Recipients of all announcements that one organizer may send in a day (UTC); 0 means any number.",
		settings.Between(0, 1_000_000_000))
	MessageRetention = settings.Duration("notification.retention", 400*24*time.Hour,
		"How long messages stay in the list of messages, and what is known of their delivery.",
		settings.Between(7*24*time.Hour, 10*365*24*time.Hour)).ForAdmins()
	InvitationTTL = settings.Duration("event.invitation_ttl", 30*24*time.Hour,
		"How long an invitation to a team, or to become a member, waits for its address to be confirmed.",
		settings.Between(time.Hour, 365*24*time.Hour))
	ChangeQuiet = settings.Duration(
		"notification.change_quiet",
		10*time.Minute,
		"How long an event must stay as it is before ticket holders are told of its changes, in one message; less if "+
			"it begins soon.",
		settings.Between(time.Duration(0), 24*time.Hour),
	)

	LivePerPerson = settings.Int("gateway.live_per_person", 8,
		"Live streams that one person may have open at a gateway.", settings.Between(1, 1000))
	LiveStreams = settings.Int("gateway.live_streams", 10000,
		"Live streams that may be open at a gateway.", settings.Between(1, 1000000))

	AnalyticsMinutes = settings.Duration("analytics.minutes", 90*24*time.Hour,
		"How long numbers are kept by the minute; older ones are kept by the quarter of an hour.",
		settings.Between(time.Hour, 10*365*24*time.Hour)).ForAdmins()
	AuditRetention = settings.Duration("audit.retention", 5*365*24*time.Hour,
		"How long the lines of the audit log are kept.",
		settings.Between(400*24*time.Hour, 30*365*24*time.Hour)).ForAdmins()

	PeopleRetention = settings.Duration("analytics.people_retention", 120*24*time.Hour,
		"How long after the end of an event marks of its buyers are kept, by which each is counted once.",
		settings.Between(24*time.Hour, 10*365*24*time.Hour)).ForAdmins()
	AnalyticsRetention = settings.Duration(
		"analytics.retention",
		5*365*24*time.Hour,
		"How long after its end the numbers of an event are kept.",
		settings.Between(24*time.Hour, 50*365*24*time.Hour),
	).ForAdmins()
	AnalyticsGeneration = settings.Int("analytics.generation", 0,
		"Which build of the read model is in force: every change makes every instance fold its streams again from "+
			"their beginning.", settings.Between(0, 1000000))
	AnalyticsIncomplete = settings.Bool("analytics.incomplete", false,
		"Whether the numbers of an event are shown although facts of it were lost before they could be counted.")

	TraceSampled = settings.Int("trace.sampled", 100,
		"How many of 10,000 requests are traced, where the processes know a collector (--otlp).",
		settings.Between(0, 10000))

	LogLevel = settings.Level("log.level", slog.LevelInfo, "What is logged: debug, info, warn or error.")
)

// checkOrigins checks the text of Origins. An origin is a scheme and a host, perhaps with a port, as browsers send it.
// ExternalServices returns the names of the third-party services that are let in.
func ExternalServices(l *settings.Live) (names []string) {
	for name := range strings.SplitSeq(AllowedServices.Get(l), ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func checkServices(text string) error {
	if text == "" {
		return nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); !serviceName(name) {
			return fmt.Errorf("%q is no name of a service: letters from a to z, digits and _", name)
		}
	}
	return nil
}

// serviceName reports whether a name is safe as a token of a subject and in a path.
func serviceName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func checkOrigins(text string) error {
	if text == "" || text == "*" {
		return nil
	}
	for o := range strings.SplitSeq(text, ",") {
		o = strings.TrimSpace(o)
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != o ||
			strings.ToLower(o) != o {
			return fmt.Errorf("%q is no origin such as https://shop.example.org", o)
		}
	}
	return nil
}

// checkHost checks the text of RelyingParty.
func checkHost(text string) error {
	u, err := url.Parse("https://" + text)
	if err != nil || u.Host != text || u.Hostname() != text || text == "" || strings.ToLower(text) != text {
		return fmt.Errorf("%q is no domain such as shop.example.org", text)
	}
	return nil
}

// OriginAllowed reports whether a text of Origins has the origin.
func OriginAllowed(text, origin string) bool {
	if text == "*" {
		return true
	}
	for o := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(o) == origin {
			return true
		}
	}
	return false
}

// Settings returns every live setting in the order of documentation.
func Settings() []settings.Definition {
	return append([]settings.Definition{HoldTTL, MaxPerOrder, MaxOpenOrders, MaxUnpaidSeats, MaxManualSeats,
		RenewalPause, MaxGuestOrders, MaxGuestsPerAddress, PaymentGrace, DoorsOpen, DoorsClose,
		AttendeeRetention, ScanRetention, AnswerRetention,
		PaymentProvider, SandboxEnabled, SandboxChallenge, SandboxCaptureDelay, SandboxCallbackDelay, SandboxShuffle,
		SandboxCopies, SandboxLost,
		SandboxTimeouts, SandboxWrongAmount, SandboxChangesMind, ManualEnabled, ManualTTL, ManualInstructions,
		PaymentPollAfter, RefundStepUp, CallbackRetention, ReasonRetention,
		AccessTTL, AccessKeyLifetime, TicketKeyLifetime, RefreshTTL,
		SessionTTL, MaxSessions, PasswordWords,
		PasswordBits, ChallengeBits, StepUpTTL, AdminFactor, SiteName, RelyingParty,
		RelyingPartyOrigins,
		RatePerAddress, RatePerPerson, RatePerKey, RateLogin, RateGuests, ViewsPerAddress,
		ConnectionsPerAddress, Origins, AllowedServices,
		SMSCountries, SMSPerPerson, SMSPerDay, GuestMails, MailsPerPerson, AnnouncementsPerEvent,
		MailsPerOrganizer, ChangeQuiet,
		MessageRetention, InvitationTTL,
		LivePerPerson, LiveStreams,
		AuditRetention, AnalyticsMinutes, AnalyticsRetention, PeopleRetention,
		AnalyticsGeneration, AnalyticsIncomplete, TraceSampled, LogLevel},
		slices.Concat(creationSettings(), pictureSettings(), webhookSettings(), trafficSettings(),
			choiceSettings())...)
}
