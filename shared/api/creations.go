package api

import "github.com/starlightsymphony/starlight/shared/settings"

// Limits of what is made; 0 means any number. What is over a limit of a day is refused with rate_limited until the next
// day, and what is over one of all with conflict until there is less.
var (
	OrganizersPerPerson = limit("event.organizers_per_person", 20, "Organizers that one person makes in a day (UTC)")
	OrganizersOwned     = limit("event.organizers_owned", 50, "Organizers that one person owns")
	EventsPerOrganizer  = limit("event.events_per_organizer", 1000,
		"Events that are made for one organizer in a day (UTC)")
	TypesPerOrganizer = limit("event.ticket_types_per_organizer", 10_000,
		"Ticket types that are made for the events of one organizer in a day (UTC)")
	InvitationsPerOrganizer = limit("event.invitations_per_organizer", 500,
		"Invitations to one organizer, or to the team of one event, in a day (UTC)")
	APIKeysPerOrganizer = limit("event.api_keys_per_organizer", 100,
		"API keys that are made or rotated for one organizer in a day (UTC)")
	APIKeysInAll      = limit("event.api_keys", 100, "API keys that one organizer has")
	SessionsPerPerson = limit("user.sessions_per_person", 1000, "Sessions that one person begins in a day (UTC)")
	VenuesPerPerson   = limit("venue.venues_per_person", 50, "Venues that one person makes in a day (UTC)")
	PassesPerEvent    = limit("venue.passes_per_event", 500,
		"Passes of devices that are made for one event in a day (UTC)")
	PassesInAll = settings.Int("venue.passes", 200,
		"Passes of devices that one event has: all of them travel with each answer to its venue.",
		settings.Between(1, 1000))
	WebhooksPerOrganizer = limit("notification.webhooks_per_organizer", 50,
		"Webhooks that are made for one organizer in a day (UTC)")
	WebhooksInAll    = limit("notification.webhooks", 20, "Webhooks that one organizer has")
	DevicesPerPerson = limit("notification.devices_per_person", 100,
		"Push devices that one person subscribes in a day (UTC)")
)

func limit(key string, most int, what string) *settings.Setting[int] {
	return settings.Int(key, most, what+"; 0 means any number.", settings.Between(0, 1_000_000))
}

func creationSettings() []settings.Definition {
	return []settings.Definition{OrganizersPerPerson, OrganizersOwned, EventsPerOrganizer, TypesPerOrganizer,
		InvitationsPerOrganizer, APIKeysPerOrganizer, APIKeysInAll, SessionsPerPerson, VenuesPerPerson, PassesPerEvent,
		PassesInAll, WebhooksPerOrganizer, WebhooksInAll, DevicesPerPerson}
}
