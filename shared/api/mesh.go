package api

import (
	"encoding/json"
	"time"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Setting is a live setting: its documentation and what it is now.
type Setting struct {
	Key       string     `json:"key"`                  // what it is called, such as ticketing.hold_ttl
	Kind      string     `json:"kind"`                 // of value
	Doc       string     `json:"doc"`                  // what it does
	Bounds    string     `json:"bounds,omitempty"`     // what values may be
	Default   string     `json:"default"`              // in force unless another is set
	Value     string     `json:"value"`                // what is in force
	IsSet     bool       `json:"is_set"`               // false: that of the base is in force, or the default
	Revision  uint64     `json:"revision"`             // 0 when never set
	UpdatedAt *time.Time `json:"updated_at,omitempty"` // when it was last set

	// where the value in force comes from, each above the one before
	Source string `json:"source" enum:"default,base,environment"`
	// what the base says, if it says something: the layer that several environments have in common, whose keys are
	// those of the settings after "base."
	Base *string `json:"base,omitempty"`
	// who may change it on NATS: operators, who have ops.creds, or only administrators; over REST only these do
	Access string `json:"access" enum:"operators,admins"`
}

// SettingRef names a setting in a path.
type SettingRef struct {
	// what the setting is called, such as ticketing.hold_ttl, or base.ticketing.hold_ttl in the base
	Key string `json:"-" path:"key"`
}

// SetSetting is the request of PutSetting: the same text that `nats kv put config KEY VALUE` stores.
type SetSetting struct {
	Key   string `json:"-"     path:"key"` // what the setting is called, such as ticketing.hold_ttl
	Value string `json:"value"`            // the text that `nats kv put config KEY VALUE` stores, such as 5m

	// Only look whether the value would be taken: the answer is what the setting would be, and nothing changes.
	DryRun bool `json:"-" query:"dry_run" default:"false"`
}

// SettingChange is one entry of a setting's history.
type SettingChange struct {
	Revision uint64    `json:"revision"`          // names the entry, for a rollback
	Value    string    `json:"value"`             // what was set
	Deleted  bool      `json:"deleted,omitempty"` // the setting was returned to the base, or to its default
	Valid    bool      `json:"valid"`             // false: refused by the services, which stayed with the value before
	At       time.Time `json:"at"`                // when it was set
	// who set it: a person, or the service "nats" for a tool that wrote to NATS; empty if it is not known any more
	By AuditAuthor `json:"by"`
}

// RollbackSetting is the request of the endpoint of that name.
type RollbackSetting struct {
	// what the setting is called, such as ticketing.hold_ttl
	Key string `json:"-"        path:"key"`
	// from the history; 0 means the value before the present one
	Revision uint64 `json:"revision"            minimum:"0" required:"false" default:"0"`
}

// ServiceInstance is one running instance of a service, as it describes itself over the NATS micro protocol.
type ServiceInstance struct {
	Service   string             `json:"service"`            // what it is called
	ID        string             `json:"id"`                 // of the instance, from the NATS micro protocol
	Version   string             `json:"version"`            // of the program
	Zone      string             `json:"zone,omitempty"`     // where it runs, as its operator names it
	External  bool               `json:"external,omitempty"` // a third-party service: its endpoints are below x.
	Healthy   bool               `json:"healthy"`            // answered the ping in time
	Latency   float64            `json:"latency_ms"`         // how long the answer to the ping took
	Busy      int64              `json:"busy"`               // requests that wait or run now
	EjectedBy int                `json:"ejected_by"`         // how many processes leave it alone: see mesh.ejection
	StartedAt time.Time          `json:"started_at"`         // when it was started
	Endpoints []InstanceEndpoint `json:"endpoints"`
}

// InstanceEndpoint is an endpoint of an instance with its own numbers.
type InstanceEndpoint struct {
	Name      string  `json:"name"`                 // what it is called
	Subject   string  `json:"subject"`              // that it answers on
	Method    string  `json:"method,omitempty"`     // of HTTP
	Path      string  `json:"path,omitempty"`       // of HTTP
	Requests  uint64  `json:"requests"`             // how many it was sent
	Errors    uint64  `json:"errors"`               // how many it answered with an error
	MeanMs    float64 `json:"mean_ms"`              // how long it takes on average
	P99Ms     float64 `json:"p99_ms"`               // what 99 of 100 requests did not exceed, 0 where it is not known
	LastError string  `json:"last_error,omitempty"` // the newest error
}

// ExternalPrefix begins the subjects of third-party services: x.NAME.ENDPOINT.
const ExternalPrefix = "x."

// Mesh is who is there, who may call whom, and where what runs is not what is declared.
type Mesh struct {
	Instances []ServiceInstance `json:"instances"` // gateways and third-party services among them
	Calls     []MeshCall        `json:"calls"`     // as the contract allows them
	Drift     []Drift           `json:"drift"`     // empty if all is as declared
}

// MeshCall is that a part of the system may call another.
type MeshCall struct {
	From      string `json:"from"`      // the service that calls, or gateway
	To        string `json:"to"`        // the service that answers
	Endpoints int    `json:"endpoints"` // how many it may call
}

// DriftKind says how what runs differs from what is declared.
type DriftKind string

// The kinds of drift.
const (
	DriftAbsent     DriftKind = "absent"     // a declared service of which no instance answers
	DriftMissing    DriftKind = "missing"    // a declared endpoint that an instance does not serve
	DriftUndeclared DriftKind = "undeclared" // a service or an endpoint that no declaration has
	DriftDiffers    DriftKind = "differs"    // an endpoint with another subject, method, path, access rule or schema
	DriftVersions   DriftKind = "versions"   // instances of one service have several versions
	DriftUnhealthy  DriftKind = "unhealthy"  // an instance that answers in part
)

// Drift is one difference between what runs and what is declared.
type Drift struct {
	Kind     DriftKind `json:"kind"`               // in which way
	Service  string    `json:"service"`            // of which service
	Instance string    `json:"instance,omitempty"` // of which instance, if it is about one
	Endpoint string    `json:"endpoint,omitempty"` // of which endpoint, if it is about one
	Detail   string    `json:"detail"`             // for a reader
}

// TopologyQuery says in which form the topology is drawn.
type TopologyQuery struct {
	Format string `query:"format" json:"-"` // svg, which is the default, or mermaid
}

// LogQuery is the request of ListLogs.
type LogQuery struct {
	// only lines of this request: the X-Request-Id of an answer
	Request string `json:"-" query:"request" maxLength:"100"`
	Service string `json:"-" query:"service" maxLength:"40"` // only lines of this service
	// only this level and above: debug, info, warn or error
	Level string `json:"-" query:"level" maxLength:"10"`
	// only what was logged at this time or later, RFC 3339; an hour ago if it is not said
	From string `json:"-" query:"from"`
	Page
}

// LogLine is a line of the log of a process.
type LogLine struct {
	At        time.Time `json:"at"`                   // when it was logged
	Level     string    `json:"level"`                // debug, info, warn or error
	Service   string    `json:"service"`              // which has logged it
	Instance  string    `json:"instance"`             // of the service
	Message   string    `json:"message"`              // what has happened
	RequestID string    `json:"request_id,omitempty"` // of the request that it was logged for
	// what else the line says, by name; secrets are taken out where lines are written
	Attributes map[string]json.RawMessage `json:"attributes,omitempty"`
}

// The endpoints of the config and discovery services.
var (
	ListSettings = rpc.Endpoint[rpc.None, List[Setting]]{Spec: rpc.Spec{Service: "config", Name: "list",
		Method: "GET", Path: "/v1/config", Access: rpc.Admin, Summary: "Every live setting with its documentation"}}
	GetSetting = rpc.Endpoint[SettingRef, Setting]{Spec: rpc.Spec{Service: "config", Name: "get", Method: "GET",
		Path: "/v1/config/{key}", Access: rpc.Admin, Summary: "Read a setting"}}
	PutSetting = rpc.Endpoint[SetSetting, Setting]{Spec: rpc.Spec{Service: "config", Name: "put", Method: "PUT",
		Path: "/v1/config/{key}", Access: rpc.Admin, Audited: true, StepUp: true,
		Summary: "Change a setting; in force everywhere within a second"}}
	DeleteSetting = rpc.Endpoint[SettingRef, rpc.None]{Spec: rpc.Spec{Service: "config", Name: "delete",
		Method: "DELETE", Path: "/v1/config/{key}", Access: rpc.Admin, Status: 204, Audited: true, StepUp: true,
		Summary: "Return a setting to the base, or to its default"}}
	GetSettingHistory = rpc.Endpoint[SettingRef, List[SettingChange]]{
		Spec: rpc.Spec{Service: "config", Name: "history",
			Method: "GET", Path: "/v1/config/{key}/history", Access: rpc.Admin,
			Summary: "The last values of a setting, newest first"},
	}
	RollbackToSetting = rpc.Endpoint[RollbackSetting, Setting]{Spec: rpc.Spec{Service: "config", Name: "rollback",
		Method: "POST", Path: "/v1/config/{key}/rollback", Access: rpc.Admin, Audited: true, StepUp: true,
		Summary: "Return a setting to an earlier value"}}

	ListServices = rpc.Endpoint[rpc.None, List[ServiceInstance]]{
		Spec: rpc.Spec{Service: "discovery", Name: "services",
			Method: "GET", Path: "/v1/mesh/services", Access: rpc.Admin,
			Summary: "Every instance of every service, its endpoints, health, latency and errors"},
	}
	GetMesh = rpc.Endpoint[rpc.None, Mesh]{Spec: rpc.Spec{Service: "discovery", Name: "mesh", Method: "GET",
		Path: "/v1/mesh", Access: rpc.Admin,
		Summary: "Who is there, who may call whom, and what differs from the contract",
		Detail: "Drift is what differs: endpoints that are declared and not served, or served and not declared, " +
			"other schemas, several versions side by side, services without an instance."}}
	GetTopology = rpc.Endpoint[TopologyQuery, rpc.Blob]{Spec: rpc.Spec{Service: "discovery", Name: "topology",
		Method: "GET", Path: "/v1/mesh/topology", Access: rpc.Admin,
		Summary: "The mesh as a picture (SVG), or as a Mermaid diagram"}}
	ListLogs = rpc.Endpoint[LogQuery, List[LogLine]]{Spec: rpc.Spec{Service: "discovery", Name: "logs",
		Method: "GET", Path: "/v1/logs", Access: rpc.Admin, Timeout: 10 * time.Second,
		Summary: "What the processes have logged, newest first",
		Detail: "Of one request with its id, over all services. A page may have fewer lines than the limit, or none, " +
			"and still a cursor: it then goes on further back. Lines are kept for a week."}}
)

func configEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListSettings.Describe(), GetSetting.Describe(), PutSetting.Describe(),
		DeleteSetting.Describe(), GetSettingHistory.Describe(), RollbackToSetting.Describe()}
}

func discoveryEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListServices.Describe(), GetMesh.Describe(), GetTopology.Describe(), ListLogs.Describe()}
}
