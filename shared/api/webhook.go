package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// The facts that a webhook is told.
const (
	HookOrderPaid         = "order.paid"
	HookOrderCancelled    = "order.cancelled"
	HookOrderExpired      = "order.expired"
	HookOrderRefunded     = "order.refunded"
	HookOrderExchanged    = "order.exchanged"
	HookTicketIssued      = "ticket.issued"
	HookTicketTransferred = "ticket.transferred"
	HookTicketRevoked     = "ticket.revoked"
	HookTicketAdmitted    = "ticket.admitted"
	HookAdmissionUndone   = "ticket.admission_undone"
	HookEventPublished    = "event.published"
	HookEventUpdated      = "event.updated"
	HookEventCancelled    = "event.cancelled"
	HookEventDeleted      = "event.deleted"
)

// HookTopics returns the topics of webhooks in the order of documentation.
func HookTopics() []string {
	return []string{HookOrderPaid, HookOrderCancelled, HookOrderExpired, HookOrderRefunded, HookOrderExchanged,
		HookTicketIssued, HookTicketTransferred, HookTicketRevoked, HookTicketAdmitted, HookAdmissionUndone,
		HookEventPublished, HookEventUpdated, HookEventCancelled, HookEventDeleted}
}

// Webhook is where a system of an organizer is told what happens.
type Webhook struct {
	ID          ids.Webhook   `json:"id"`
	OrganizerID ids.Organizer `json:"organizer_id"`
	URL         string        `json:"url"`              // what is posted to
	Name        string        `json:"name,omitempty"`   // what it is for
	Topics      []string      `json:"topics,omitempty"` // what it is told; absent: everything
	Enabled     bool          `json:"enabled"`          // whether it is told anything
	// why it is not enabled: failing if it took nothing for days; absent if a person switched it off
	DisabledReason string `json:"disabled_reason,omitempty" enum:"failing"`
	Waiting        int64  `json:"waiting"` // facts of the organizer that it was not told yet, of whatever topic
	// since when it takes nothing; absent while it does
	FailingSince *time.Time `json:"failing_since,omitempty"`
	NextAt       *time.Time `json:"next_at,omitempty"` // when it is tried again, while it fails
	// until when messages are signed with the secret before, too
	PreviousUntil *time.Time `json:"previous_until,omitempty"`
	CreatedBy     ids.User   `json:"created_by"`
	CreatedAt     time.Time  `json:"created_at"` // when it was made
	UpdatedAt     time.Time  `json:"updated_at"` // when it was last changed
}

// WebhookSecret is a webhook with the secret that its messages are signed with.
type WebhookSecret struct {
	Webhook
	Secret string `json:"secret"` // whsec_ and base64, as libraries for Standard Webhooks take it; shown this once
}

// NewWebhook is the request of CreateWebhook.
type NewWebhook struct {
	ID     ids.Organizer `json:"-" path:"id"`
	URL    string        `json:"url" maxLength:"2000"`           // https, at a public address
	Name   string        `json:"name,omitempty" maxLength:"80"`  // what it is for, on one line
	Topics []string      `json:"topics,omitempty" maxItems:"20"` // what it is told; absent: everything
}

// WebhookRef names a webhook in a path.
type WebhookRef struct {
	ID        ids.Organizer `json:"-" path:"id"`
	WebhookID ids.Webhook   `json:"-" path:"webhook_id"`
}

// PatchWebhook is the request of UpdateWebhook.
type PatchWebhook struct {
	ID        ids.Organizer `json:"-" path:"id"`
	WebhookID ids.Webhook   `json:"-" path:"webhook_id"`
	URL       *string       `json:"url,omitempty" maxLength:"2000"` // https, at a public address
	Name      *string       `json:"name,omitempty" maxLength:"80"`  // what it is for, on one line
	Topics    *[]string     `json:"topics,omitempty" maxItems:"20"` // what it is told; empty: everything
	Enabled   *bool         `json:"enabled,omitempty"`              // whether it is told anything
}

// RotateWebhook is the request of RotateWebhookSecret.
type RotateWebhook struct {
	ID        ids.Organizer `json:"-" path:"id"`
	WebhookID ids.Webhook   `json:"-" path:"webhook_id"`
	// for how many seconds messages are signed with the secret before, too; absent: a day
	Grace *int `json:"grace,omitempty" minimum:"0" maximum:"604800"`
}

// ReplayWebhook is the request of ReplayWebhookFrom.
type ReplayWebhook struct {
	ID        ids.Organizer `json:"-" path:"id"`
	WebhookID ids.Webhook   `json:"-" path:"webhook_id"`
	From      time.Time     `json:"from"` // what happened at this time or later is told again
}

// WebhookPage is the request of ListWebhookAttempts.
type WebhookPage struct {
	ID        ids.Organizer `json:"-" path:"id"`
	WebhookID ids.Webhook   `json:"-" path:"webhook_id"`
	Page
}

// WebhookAttempt is one attempt to tell a webhook something.
type WebhookAttempt struct {
	MessageID ids.WebhookMessage `json:"message_id"`        // the header webhook-id: the same at each attempt
	Topic     string             `json:"topic"`             // what was told
	At        time.Time          `json:"at"`                // when it was sent
	Took      int64              `json:"took_ms"`           // milliseconds
	Status    int                `json:"status,omitempty"`  // of the answer; absent if there was none
	Delivered bool               `json:"delivered"`         // whether it was taken: any status of 200 to 299
	Problem   string             `json:"problem,omitempty"` // what went wrong
}

// WebhookEvent is the payload of WebhookWasDisabled.
type WebhookEvent struct {
	WebhookID   ids.Webhook   `json:"webhook_id"`
	OrganizerID ids.Organizer `json:"organizer_id"`
	Host        string        `json:"host"` // where it is
	At          time.Time     `json:"at"`
}

// WebhookWasDisabled is the topic of webhooks that were switched off since they took nothing.
var WebhookWasDisabled = Topic[WebhookEvent]{"ev.notification.webhook.disabled",
	"a webhook was switched off: it took nothing for days"}

// Live settings of webhooks.
var (
	WebhookPrivate = settings.Bool("notification.webhook_private", false,
		"Whether webhooks may be in private networks, and without TLS. Organizers can then reach what this system "+
			"can.").ForAdmins()
	WebhookPatience = settings.Duration("notification.webhook_patience", 3*24*time.Hour,
		"For how long a webhook that takes nothing is tried again before it is switched off.",
		settings.Between(time.Minute, 30*24*time.Hour))
	WebhookRetention = settings.Duration("notification.webhook_retention", 30*24*time.Hour,
		"How long facts are kept for webhooks that were not told, or are to be told again, and the log of attempts.",
		settings.Between(time.Hour, 400*24*time.Hour)).ForAdmins()
)

func webhookSettings() []settings.Definition {
	return []settings.Definition{WebhookPrivate, WebhookPatience, WebhookRetention}
}

// The endpoints about webhooks, which the notification service serves.
var (
	CreateWebhook = rpc.Endpoint[NewWebhook, WebhookSecret]{Spec: rpc.Spec{Service: "notification",
		Name: "create_webhook", Method: "POST", Path: "/v1/organizers/{id}/webhooks", Access: rpc.User, Audited: true,
		StepUp: true, Sealed: true, Status: 201, Summary: "Have a system told what happens",
		Detail: "Messages go out as Standard Webhooks: JSON, signed with the secret, which is in this answer alone. " +
			"Each receiver gets its messages in order, one at a time, at least once. One that fails is tried again " +
			"for three days, then switched off. See docs/webhooks.md. A caller who may not read orders can have a " +
			"webhook for the topics of events.",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.Conflict: "the organizer has as many webhooks as it may"})}}
	ListWebhooks = rpc.Endpoint[OrganizerRef, List[Webhook]]{Spec: rpc.Spec{Service: "notification",
		Name: "list_webhooks", Method: "GET", Path: "/v1/organizers/{id}/webhooks", Access: rpc.User,
		Summary: "The webhooks of an organizer, the oldest first", Faults: forMembers(MayManageKeys, nil)}}
	GetWebhook = rpc.Endpoint[WebhookRef, Webhook]{Spec: rpc.Spec{Service: "notification", Name: "get_webhook",
		Method: "GET", Path: "/v1/organizers/{id}/webhooks/{webhook_id}", Access: rpc.User, Summary: "Read a webhook",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noHook})}}
	UpdateWebhook = rpc.Endpoint[PatchWebhook, Webhook]{Spec: rpc.Spec{Service: "notification",
		Name: "update_webhook", Method: "PATCH", Path: "/v1/organizers/{id}/webhooks/{webhook_id}", Access: rpc.User,
		Audited: true, StepUp: true, Summary: "Change a webhook, or switch it off and on",
		Detail: "While it is off, what happens waits for it, for as long as the setting " +
			"notification.webhook_retention.",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noHook, fault.Conflict: ""})}}
	DeleteWebhook = rpc.Endpoint[WebhookRef, rpc.None]{Spec: rpc.Spec{Service: "notification",
		Name: "delete_webhook", Method: "DELETE", Path: "/v1/organizers/{id}/webhooks/{webhook_id}", Access: rpc.User,
		Audited: true, Status: 204, Summary: "Delete a webhook with its log",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noHook, fault.Conflict: ""})}}
	RotateWebhookSecret = rpc.Endpoint[RotateWebhook, WebhookSecret]{Spec: rpc.Spec{Service: "notification",
		Name: "rotate_webhook", Method: "POST", Path: "/v1/organizers/{id}/webhooks/{webhook_id}/rotate",
		Access: rpc.User, Audited: true, StepUp: true, Sealed: true, Summary: "Give a webhook another secret",
		Detail: "For the time of grace, messages have the signatures of both secrets.",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noHook, fault.Conflict: ""})}}
	ReplayWebhookFrom = rpc.Endpoint[ReplayWebhook, Webhook]{Spec: rpc.Spec{Service: "notification",
		Name: "replay_webhook", Method: "POST", Path: "/v1/organizers/{id}/webhooks/{webhook_id}/replay",
		Access: rpc.User, Audited: true, Summary: "Tell a webhook everything again from a moment on",
		Detail: "In the order in which it happened, with the same message ids. What is kept is told: see the setting " +
			"notification.webhook_retention.",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noHook, fault.Conflict: ""})}}
	ListWebhookAttempts = rpc.Endpoint[WebhookPage, List[WebhookAttempt]]{Spec: rpc.Spec{Service: "notification",
		Name: "webhook_attempts", Method: "GET", Path: "/v1/organizers/{id}/webhooks/{webhook_id}/attempts",
		Access: rpc.User, Summary: "What was sent to a webhook, newest first",
		Faults: forMembers(MayManageKeys, rpc.Faults{fault.NotFound: noHook})}}
)

const noHook = notMember + "; or the organizer has no such webhook"

func webhookEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateWebhook.Describe(), ListWebhooks.Describe(), GetWebhook.Describe(),
		UpdateWebhook.Describe(), DeleteWebhook.Describe(), RotateWebhookSecret.Describe(),
		ReplayWebhookFrom.Describe(), ListWebhookAttempts.Describe()}
}
