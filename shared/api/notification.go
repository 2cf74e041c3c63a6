package api

import (
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
)

// The kinds of messages that a person has preferences for. The first three are transactional: their mails always come,
// since they are about something the person did, paid for, or has to know.
const (
	AboutAccount       = "account"       // welcome, password resets and changes
	AboutOrders        = "orders"        // tickets, expiries, refunds, payment trouble
	AboutChanges       = "event_changes" // another time or place, cancellations
	AboutReminders     = "reminders"     // a day and two hours before
	AboutAnnouncements = "announcements" // what organizers write
)

// Notification is a message in a person's inbox.
type Notification struct {
	ID ids.Notification `json:"id"`
	// what it is about
	Kind string `json:"kind"               enum:"account,orders,event_changes,reminders,announcements"`
	// of its template, such as order_paid or reminder
	Name  string `json:"name"`
	Title string `json:"title"` // in one line
	// all of it, as plain text
	Text      string     `json:"text"`
	EventID   ids.Event  `json:"event_id,omitempty"`
	OrderID   ids.Order  `json:"order_id,omitempty"`
	CreatedAt time.Time  `json:"created_at"`        // when it was written
	ReadAt    *time.Time `json:"read_at,omitempty"` // when it was read
}

// NotificationQuery is the request of ListNotifications.
type NotificationQuery struct {
	Page
	Unread bool `json:"-" query:"unread" default:"false"` // only those not read yet
}

// Inbox is a page of a person's messages, newest first.
type Inbox struct {
	Items []Notification `json:"items"` // the newest first
	// for the parameter cursor of the next page; absent on the last one
	NextCursor string `json:"next_cursor,omitempty"`
	Unread     int    `json:"unread"                minimum:"0"` // how many are not read, in all of the inbox
}

// MarkRead is the request of MarkNotificationsRead.
type MarkRead struct {
	IDs []ids.Notification `json:"ids,omitempty" maxItems:"200"` // at most 200; without any, all are marked
}

// Unread is how many messages a person has not read.
type Unread struct {
	Unread int `json:"unread" minimum:"0"` // how many are not read, in all of the inbox
}

// LiveInbox is the snapshot of FollowNotifications: the newest messages. Each message that comes later is an event
// "notification" with a Notification.
type LiveInbox struct {
	UserID ids.User       `json:"user_id"`
	Items  []Notification `json:"items"`               // the newest 20
	Unread int            `json:"unread"  minimum:"0"` // how many are not read, in all of the inbox
}

// LiveSubject returns where new messages are published.
func (l LiveInbox) LiveSubject() string { return live.Subject("notification", string(l.UserID)) }

// Preference is which channels a person wants for a kind of message.
type Preference struct {
	// what the messages are about
	Kind string `json:"kind"                    enum:"account,orders,event_changes,reminders,announcements"`
	// mails come in any case; only read
	Transactional bool `json:"transactional,omitempty"`
	// whether mails are sent
	Email bool `json:"email"`
	// whether text messages are sent
	SMS bool `json:"sms"`
	// whether push messages are sent
	Push bool `json:"push"`
	// whether it is in the list of messages
	Inbox bool `json:"inbox"`
}

// The states of a person's address.
const (
	AddressWorks   = "ok"
	AddressBounced = "bounced" // switched off: the other side says that it does not exist
)

// AddressState is whether mails reach a person. Putting "ok" switches the address on again.
type AddressState struct {
	// bounced: switched off, since the other side says that it does not exist; ok switches it on again
	Status string     `json:"status"           enum:"ok,bounced"`
	Reason string     `json:"reason,omitempty"` // what the other side said; only read
	Since  *time.Time `json:"since,omitempty"`  // only read
}

// Preferences is what a person wants to be notified of, and how. In a request the kinds that are absent stay as they
// are.
type Preferences struct {
	Kinds []Preference  `json:"kinds"                   required:"false"`
	Email *AddressState `json:"email_address,omitempty"`
}

// PushKeys are the keys of a browser's push subscription, in base64url.
type PushKeys struct {
	P256dh string `json:"p256dh"` // the public key of the browser, a P-256 point
	Auth   string `json:"auth"`   // the secret of the browser
}

// NewPushSubscription is the request of CreatePushSubscription: what PushSubscription.toJSON gives in a browser.
type NewPushSubscription struct {
	Endpoint       string   `json:"endpoint"                 format:"uri"` // a https address of a push service
	ExpirationTime *int64   `json:"expirationTime,omitempty"`              // browsers send it; not used
	Keys           PushKeys `json:"keys"`
}

// PushSubscription is a device that takes push messages.
type PushSubscription struct {
	ID        ids.PushSubscription `json:"id"`
	Endpoint  string               `json:"endpoint"   format:"uri"` // the address at the push service
	CreatedAt time.Time            `json:"created_at"`              // when it was made
}

// PushSubscriptionRef names a subscription by its endpoint, which is what a browser knows.
type PushSubscriptionRef struct {
	Endpoint string `json:"-" query:"endpoint" required:"true"` // the address at the push service
}

// PushKey is the key that browsers subscribe with, applicationServerKey: an uncompressed P-256 point in base64url.
type PushKey struct {
	Key string `json:"key"` // an uncompressed P-256 point in base64url
}

// NewAnnouncement is the request of CreateAnnouncement.
type NewAnnouncement struct {
	EventID ids.Event `json:"-"       path:"id"`
	Subject string    `json:"subject"` // the subject of the mail, on one line
	Text    string    `json:"text"`    // plain; an empty line begins a paragraph
}

// Announcement is what an organizer writes to all ticket holders.
type Announcement struct {
	ID         ids.Announcement `json:"id"`
	EventID    ids.Event        `json:"event_id"`
	By         ids.User         `json:"by"`
	Subject    string           `json:"subject"`                                    // the subject of the mail
	Text       string           `json:"text"`                                       // plain; an empty line begins a paragraph
	Status     string           `json:"status"     enum:"sending,sent"`             // whether all have been written to
	Recipients int              `json:"recipients"                     minimum:"0"` // how many were written to so far
	CreatedAt  time.Time        `json:"created_at"`                                 // when it was written
}

// AnnouncementPreview is what an announcement would be, and for how many.
type AnnouncementPreview struct {
	Subject string `json:"subject"` // of the mail
	Text    string `json:"text"`    // the mail as plain text, in the language of the caller
	HTML    string `json:"html"`    // the mail as HTML
	// people with a ticket that is good; those who want no announcements get none
	Recipients int `json:"recipients" minimum:"0"`
}

// Unsubscription is the request of Unsubscribe: the token from a mail. What the body says does not matter, RFC 8058.
type Unsubscription struct {
	Token string `json:"-" query:"token" required:"true"` // from the link in a mail
	Body  []byte `json:"-"                               body:"raw"`
}

// UnsubscribePage is the request of GetUnsubscribePage.
type UnsubscribePage struct {
	Token string `json:"-" query:"token" required:"true"` // from the link in a mail
}

// Template is a message that the system can send.
type Template struct {
	// what it is called, such as order_paid
	Name string `json:"name"`
	Kind string `json:"kind"          enum:"account,orders,event_changes,reminders,announcements"` // what it is about
	// mails come whatever the recipient prefers
	Transactional bool `json:"transactional"`
	// that it is written in, BCP 47
	Languages []string `json:"languages"`
}

// PreviewOf is the request of PreviewTemplate.
type PreviewOf struct {
	Name     string `json:"-" path:"name"`                               // of the template, from the list
	Language string `json:"-"             query:"language" default:"en"` // one that the list names
}

// Preview is a template filled with an example.
type Preview struct {
	Name     string `json:"name"`     // of the template
	Language string `json:"language"` // that it is written in
	Subject  string `json:"subject"`  // of the mail
	Short    string `json:"short"`    // in the inbox, as SMS, as push message
	Text     string `json:"text"`     // the mail as plain text
	HTML     string `json:"html"`     // the mail as HTML
}

// DeadLetter is a message that a consumer gave up.
type DeadLetter struct {
	ID        string    `json:"id"`                   // its sequence in the stream DEAD
	Consumer  string    `json:"consumer"`             // who gave it up
	Stream    string    `json:"stream"`               // that it came from
	Subject   string    `json:"subject"`              // that it was published on
	MessageID string    `json:"message_id"`           // what it was deduplicated by
	Reason    string    `json:"reason"`               // why it was given up
	RequestID string    `json:"request_id,omitempty"` // of the request that it came from
	Payload   string    `json:"payload"`              // the first 4 KiB
	At        time.Time `json:"at"`                   // when it was given up
}

// DeadLetterRef names a dead letter in a path.
type DeadLetterRef struct {
	ID string `json:"-" path:"id"` // its sequence in the stream DEAD
}

// The endpoints of the notification service.
var (
	ListNotifications = rpc.Endpoint[NotificationQuery, Inbox]{Spec: rpc.Spec{Service: "notification", Name: "inbox",
		Method: "GET", Path: "/v1/me/notifications", Access: rpc.User, Summary: "The caller's messages, newest first"}}
	MarkNotificationsRead = rpc.Endpoint[MarkRead, Unread]{Spec: rpc.Spec{Service: "notification", Name: "mark_read",
		Method: "POST", Path: "/v1/me/notifications/read", Access: rpc.User,
		Summary: "Mark messages as read, or all of them"}}
	FollowNotifications = rpc.Endpoint[rpc.None, LiveInbox]{Spec: rpc.Spec{Service: "notification", Name: "live",
		Method: "GET", Path: "/v1/live", Access: rpc.User, Guests: true, Live: rpc.LiveByCaller(),
		Summary: "The caller's messages as they come"}}
	GetPreferences = rpc.Endpoint[rpc.None, Preferences]{Spec: rpc.Spec{Service: "notification", Name: "preferences",
		Method: "GET", Path: "/v1/me/notification-preferences", Access: rpc.User,
		Summary: "What the caller wants to be notified of, and how"}}
	PutPreferences = rpc.Endpoint[Preferences, Preferences]{Spec: rpc.Spec{Service: "notification",
		Name: "set_preferences", Method: "PUT", Path: "/v1/me/notification-preferences", Access: rpc.User,
		Summary: "Choose channels", Detail: "Takes what the GET returns. Kinds that are absent stay as they are."}}
	GetPushKey = rpc.Endpoint[rpc.None, PushKey]{Spec: rpc.Spec{Service: "notification", Name: "push_key",
		Method: "GET", Path: "/v1/push-key", Access: rpc.Public,
		Summary: "The key that browsers subscribe to push messages with"}}
	ListPushSubscriptions = rpc.Endpoint[rpc.None, List[PushSubscription]]{Spec: rpc.Spec{Service: "notification",
		Name: "push_subscriptions", Method: "GET", Path: "/v1/me/push-subscriptions", Access: rpc.User,
		Summary: "The caller's devices that take push messages"}}
	CreatePushSubscription = rpc.Endpoint[NewPushSubscription, PushSubscription]{
		Spec: rpc.Spec{Service: "notification",
			Name: "subscribe", Method: "POST", Path: "/v1/me/push-subscriptions", Access: rpc.User, Status: 201,
			Summary: "Send push messages to a device of the caller",
			Detail: "The same endpoint again replaces its keys. That of another account moves to the caller with the " +
				"keys that it has: the browser is the same, with another account signed in.",
			Faults: rpc.Faults{fault.Conflict: "the endpoint is another account's, and has other keys"}},
	}
	DeletePushSubscription = rpc.Endpoint[PushSubscriptionRef, rpc.None]{Spec: rpc.Spec{Service: "notification",
		Name: "unsubscribe_push", Method: "DELETE", Path: "/v1/me/push-subscriptions", Access: rpc.User, Status: 204,
		Summary: "Send no more push messages to a device of the caller"}}
	CreateAnnouncement = rpc.Endpoint[NewAnnouncement, Announcement]{Spec: rpc.Spec{Service: "notification",
		Name: "announce", Method: "POST", Path: "/v1/events/{id}/announcements", Access: rpc.User, Status: 202,
		Idempotent: true, Audited: true, Summary: "Write to all ticket holders, as a manager of the event"}}
	PreviewAnnouncement = rpc.Endpoint[NewAnnouncement, AnnouncementPreview]{Spec: rpc.Spec{Service: "notification",
		Name: "preview_announcement", Method: "POST", Path: "/v1/events/{id}/announcements/preview",
		Access: rpc.User, Summary: "What an announcement would be, and how many it would reach",
		Detail: "Nothing is sent or kept."}}
	ListAnnouncements = rpc.Endpoint[EventPage, List[Announcement]]{Spec: rpc.Spec{Service: "notification",
		Name: "announcements", Method: "GET", Path: "/v1/events/{id}/announcements", Access: rpc.User,
		Summary: "What was announced to ticket holders, newest first, for the event's managers"}}
	GetTicketPages = rpc.Endpoint[OrderRef, rpc.Blob]{Spec: rpc.Spec{Service: "notification", Name: "ticket_pages",
		Method: "GET", Path: "/v1/orders/{id}/tickets.pdf", Access: rpc.User, Guests: true,
		Summary: "The caller's valid tickets of an order as PDF, one on each page, as the mail brings them"}}
	GetUnsubscribePage = rpc.Endpoint[UnsubscribePage, rpc.Blob]{Spec: rpc.Spec{Service: "notification",
		Name: "unsubscribe_page", Method: "GET", Path: "/v1/unsubscribe", Access: rpc.Public,
		Summary: "The page that a mail's unsubscribe link opens"}}
	Unsubscribe = rpc.Endpoint[Unsubscription, rpc.Blob]{Spec: rpc.Spec{Service: "notification", Name: "unsubscribe",
		Method: "POST", Path: "/v1/unsubscribe", Access: rpc.Public, Raw: true,
		Summary: "Stop one kind of mails, in one click",
		Detail:  "RFC 8058: mail programs call it with the token from the header List-Unsubscribe."}}

	ListTemplates = rpc.Endpoint[rpc.None, List[Template]]{Spec: rpc.Spec{Service: "notification", Name: "templates",
		Method: "GET", Path: "/v1/notification-templates", Access: rpc.Admin,
		Summary: "The messages that the system can send"}}
	PreviewTemplate = rpc.Endpoint[PreviewOf, Preview]{Spec: rpc.Spec{Service: "notification", Name: "preview",
		Method: "GET", Path: "/v1/notification-templates/{name}/preview", Access: rpc.Admin,
		Summary: "A message filled with an example"}}
	ListDeadLetters = rpc.Endpoint[Page, List[DeadLetter]]{
		Spec: rpc.Spec{Service: "notification", Name: "dead_letters",
			Method: "GET", Path: "/v1/dead-letters", Access: rpc.Admin,
			Summary: "Messages that consumers gave up, oldest first"},
	}
	ReplayDeadLetter = rpc.Endpoint[DeadLetterRef, rpc.None]{Spec: rpc.Spec{Service: "notification", Name: "replay",
		Method: "POST", Path: "/v1/dead-letters/{id}/replay", Access: rpc.Admin, Status: 202, Audited: true,
		Summary: "Hand a dead letter to its consumer once more",
		Detail: "It leaves the list. If it fails again it comes back, under another id. " +
			"Where the consumer takes no replays, as analytics, the answer is 409; `starlight rebuild analytics` " +
			"reads everything again."}}
	DropDeadLetter = rpc.Endpoint[DeadLetterRef, rpc.None]{Spec: rpc.Spec{Service: "notification", Name: "drop",
		Method: "DELETE", Path: "/v1/dead-letters/{id}", Access: rpc.Admin, Status: 204, Audited: true, StepUp: true,
		Summary: "Give up a dead letter for good", Detail: "What it said is not done any more."}}

	ExportMessages = rpc.Endpoint[PersonRef,
		List[Notification]]{Spec: rpc.Spec{Service: "notification", Name: "export_person", Access: rpc.Internal,
		Callers: []string{"user"}, Summary: "A page of the messages of a person"}}
	ExportChoices = rpc.Endpoint[PersonRef,
		PersonChoices]{Spec: rpc.Spec{Service: "notification", Name: "export_choices", Access: rpc.Internal,
		Callers: []string{"user"}, Summary: "What a person wants to be notified of, and on what devices"}}
)

func notificationEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListNotifications.Describe(), MarkNotificationsRead.Describe(),
		FollowNotifications.Describe(), GetPreferences.Describe(), PutPreferences.Describe(), GetPushKey.Describe(),
		ListPushSubscriptions.Describe(), CreatePushSubscription.Describe(), DeletePushSubscription.Describe(),
		CreateAnnouncement.Describe(), PreviewAnnouncement.Describe(), ListAnnouncements.Describe(),
		GetTicketPages.Describe(),
		GetUnsubscribePage.Describe(), Unsubscribe.Describe(),
		ListTemplates.Describe(), PreviewTemplate.Describe(), ListDeadLetters.Describe(), ReplayDeadLetter.Describe(),
		DropDeadLetter.Describe(),
		ExportMessages.Describe(), ExportChoices.Describe()}
}

// NotificationJob is what stands in the stream NOTIFICATIONS: one message to one person on one channel. Its subject is
// one of those below; the rest is in the service's database.
type NotificationJob struct {
	MessageID ids.Notification     `json:"message_id"`
	Channel   string               `json:"channel"`
	Target    ids.PushSubscription `json:"target,omitempty"` // for push: the device
}

// The channels besides the inbox.
const (
	ChannelEmail = "email"
	ChannelSMS   = "sms"
	ChannelPush  = "push"
)

// The subjects of delivery jobs. Mailings to many go their own way, so that no other message waits behind them.
const (
	NotifyEmailUrgent = jobPrefix + "email.urgent"
	NotifyEmailBulk   = jobPrefix + "email.bulk"
	NotifySMS         = jobPrefix + "sms"
	NotifyPush        = jobPrefix + "push"
)

// NotificationDurable returns the name of the consumer of a subject of delivery jobs: notify-email-urgent.
func NotificationDurable(subject string) string { return strings.ReplaceAll(subject, ".", "-") }
