package api

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// The streams of the system and the subjects that each keeps. A bucket NAME is the stream KV_NAME. The streams of logs,
// dead letters and settings are named by the packages that write them, which know no service.
const (
	EventsStream        = "EVENTS" // domain events
	EventSubjects       = eventPrefix + ">"
	NotificationsStream = "NOTIFICATIONS" // delivery jobs
	JobSubjects         = jobPrefix + ">"
	AnalyticsStream     = "ANALYTICS" // traffic that the gateway has counted
	TrafficSubjects     = trafficPrefix + ">"
	ProbeStream         = "PROBE" // written by readiness checks
	ProbeSubjects       = probePrefix + ">"

	InventoryBucket = "inventory"
	InventoryStream = kvStream + InventoryBucket
	ConfigStream    = kvStream + settings.Bucket
	// RevocationsStream keeps what package revocation writes and reads.
	RevocationsStream = kvStream + revocation.Bucket
	settingPrefix     = kvSubject + settings.Bucket + "."
	SettingSubjects   = settingPrefix + ">"

	// InventoryPrefix begins the subjects of the inventory's keys.
	InventoryPrefix = kvSubject + InventoryBucket + "."

	eventPrefix   = "ev."
	jobPrefix     = "notify."
	trafficPrefix = "facts."
	probePrefix   = "probe."
	kvStream      = "KV_"
	kvSubject     = "$KV."
)

// EventSubjectsOf returns the subjects of a service's domain events.
func EventSubjectsOf(service string) string { return eventPrefix + service + ".>" }

// SettingSubject returns the subject of the values of a live setting.
func SettingSubject(key string) string { return settingPrefix + key }

// TrafficSubjectsOf returns the subjects of what a role has counted.
func TrafficSubjectsOf(role string) string { return trafficPrefix + role + ".>" }

// ProbeSubject returns the subject of an instance's readiness check. The instance is one token.
func ProbeSubject(instance string) string { return probePrefix + instance }

// Subjects that are read as they come, without a stream's memory.
const (
	// EventChanges are the domain events of everything that can change about an event.
	EventChanges = eventPrefix + "event.event.*"
	// OrganizerChanges are the domain events of who may do what for organizers.
	OrganizerChanges = eventPrefix + "event.organizer.*"
	// AnalyticsPeers is where instances of analytics with current numbers announce themselves at each beat. The one of
	// them that started first publishes the live numbers: from several, they would go back and forth.
	AnalyticsPeers = "peers.analytics"
)

// How long and how much the streams keep.
const (
	day = 24 * time.Hour

	// DedupWindow is how long a stream knows a message id. The outbox relay must not publish a row again later than
	// this after its first try.
	DedupWindow      = 10 * time.Minute
	shortDedupWindow = 2 * time.Minute // of streams that no outbox feeds

	eventsAge        = 366 * day
	notificationsAge = 7 * day // a job is tried for two
	analyticsAge     = 30 * day
	deadAge          = 90 * day
	logsAge          = 7 * day
	auditAge         = 366 * day // a second copy: the log itself is in the audit service's database

	analyticsBytes = 1 << 30
	logsBytes      = 512 << 20
	settingBytes   = 64 << 10 // of one live setting
	historyDepth   = 64       // revisions of a key; the most that the KV layer allows
	recordsDepth   = 65_535   // records of an event; a bucket must have a limit, and checkpoints keep them far below
)

// Streams returns every stream and bucket of the system. A field that is not mentioned has no limit or is off.
func Streams() []jetstream.StreamConfig {
	streams := []jetstream.StreamConfig{
		{
			// Reads decide about seats: they go to the leader, never to a replica that may be behind. Nothing ages out,
			// and a record that would push out another is refused.
			Name: InventoryStream, Description: "seats: the commits of each event",
			Subjects:          []string{InventoryPrefix + ">"},
			MaxMsgsPerSubject: recordsDepth, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
			Duplicates: shortDedupWindow, AllowRollup: true, DenyDelete: true,
		},
		{
			Name: ConfigStream, Description: "live settings", Subjects: []string{SettingSubjects},
			MaxMsgsPerSubject: historyDepth, MaxMsgSize: settingBytes, Discard: jetstream.DiscardNew,
			Duplicates: shortDedupWindow, AllowRollup: true, DenyDelete: true,
		},
		{
			// A key is written once, and perhaps again. Reads go by a watch, which has them in order.
			Name: RevocationsStream, Description: "sessions and people whose tokens are no longer good",
			Subjects:          []string{revocation.Subjects},
			MaxMsgsPerSubject: 1, MaxAge: revocation.Kept, Duplicates: DedupWindow, AllowRollup: true, DenyDelete: true,
		},
		{
			Name: EventsStream, Description: "domain events", Subjects: []string{EventSubjects},
			MaxAge: eventsAge, Duplicates: DedupWindow, AllowAtomicPublish: true,
		},
		{
			// Not a work queue: there each acknowledgement deletes a message, and a server that syncs always syncs
			// each.
			Name: NotificationsStream, Description: "mails and messages to deliver", Subjects: []string{JobSubjects},
			MaxAge: notificationsAge, Duplicates: DedupWindow, AllowAtomicPublish: true,
		},
		{
			Name: stream.DeadStream, Description: "messages that could not be handled",
			Subjects: []string{stream.DeadSubjects}, MaxAge: deadAge, Duplicates: DedupWindow, AllowAtomicPublish: true,
		},
		{
			Name: AuditStream, Description: "lines of the audit log", Subjects: []string{AuditSubjects},
			MaxAge: auditAge, Duplicates: DedupWindow, AllowAtomicPublish: true, DenyDelete: true, DenyPurge: true,
		},
		{
			Name: AnalyticsStream, Description: "traffic facts",
			Subjects: []string{TrafficSubjects}, MaxAge: analyticsAge,
			MaxBytes: analyticsBytes, Duplicates: shortDedupWindow, PersistMode: jetstream.AsyncPersistMode,
		},
		{
			// As an object store has it, but that reads go to the leader: a picture is there once its upload is
			// acknowledged.
			Name: media.Stream, Description: "pictures", Subjects: []string{media.Chunks, media.Metadata},
			Discard: jetstream.DiscardNew, Duplicates: shortDedupWindow, AllowRollup: true,
		},
		{
			Name: ProbeStream, Description: "written to find out whether writing works",
			Subjects:          []string{ProbeSubjects},
			MaxMsgsPerSubject: 1, MaxAge: day, Duplicates: shortDedupWindow,
		},
		{
			Name: observe.LogStream, Description: "logs of all services", Subjects: []string{observe.LogSubjects},
			MaxAge: logsAge, MaxBytes: logsBytes, Duplicates: shortDedupWindow, PersistMode: jetstream.AsyncPersistMode,
		},
	}
	for i := range streams {
		s := &streams[i]
		s.Storage, s.Replicas = jetstream.FileStorage, 1
		s.MaxMsgs, s.MaxConsumers = -1, -1
		if s.MaxBytes == 0 {
			s.MaxBytes = -1
		}
		if s.MaxMsgSize == 0 {
			s.MaxMsgSize = -1
		}
		if s.MaxMsgsPerSubject == 0 {
			s.MaxMsgsPerSubject = -1
		}
	}
	return streams
}
