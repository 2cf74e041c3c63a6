package api

import (
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
	IsSet     bool       `json:"is_set"`               // false: the default is in force
	Revision  uint64     `json:"revision"`             // 0 when never set
	UpdatedAt *time.Time `json:"updated_at,omitempty"` // when it was last set
}

// SettingRef names a setting in a path.
type SettingRef struct {
	Key string `json:"-" path:"key"` // what the setting is called, such as ticketing.hold_ttl
}

// SetSetting is the request of PutSetting: the same text that `nats kv put config KEY VALUE` stores.
type SetSetting struct {
	Key   string `json:"-" path:"key"` // what the setting is called, such as ticketing.hold_ttl
	Value string `json:"value"`        // the text that `nats kv put config KEY VALUE` stores, such as 5m
}

// SettingChange is one entry of a setting's history.
type SettingChange struct {
	Revision uint64    `json:"revision"`          // names the entry, for a rollback
	Value    string    `json:"value"`             // what was set
	Deleted  bool      `json:"deleted,omitempty"` // the setting was returned to its default
	Valid    bool      `json:"valid"`             // false: refused by the services, which stayed with the value before
	At       time.Time `json:"at"`                // when it was set
}

// RollbackSetting is the request of the endpoint of that name.
type RollbackSetting struct {
	// what the setting is called, such as ticketing.hold_ttl
	Key string `json:"-" path:"key"`
	// from the history; 0 means the value before the present one
	Revision uint64 `json:"revision" minimum:"0" required:"false" default:"0"`
}

// ServiceInstance is one running instance of a service, as it describes itself over the NATS micro protocol.
type ServiceInstance struct {
	Service   string             `json:"service"`    // what it is called
	ID        string             `json:"id"`         // of the instance, from the NATS micro protocol
	Version   string             `json:"version"`    // of the program
	Healthy   bool               `json:"healthy"`    // answered the ping in time
	Latency   float64            `json:"latency_ms"` // how long the answer to the ping took
	StartedAt time.Time          `json:"started_at"` // when it was started
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
	LastError string  `json:"last_error,omitempty"` // the newest error
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
		Summary: "Return a setting to its default"}}
	GetSettingHistory = rpc.Endpoint[SettingRef, List[SettingChange]]{Spec: rpc.Spec{Service: "config", Name: "history",
		Method: "GET", Path: "/v1/config/{key}/history", Access: rpc.Admin,
		Summary: "The last values of a setting, newest first"}}
	RollbackToSetting = rpc.Endpoint[RollbackSetting, Setting]{Spec: rpc.Spec{Service: "config", Name: "rollback",
		Method: "POST", Path: "/v1/config/{key}/rollback", Access: rpc.Admin, Audited: true, StepUp: true,
		Summary: "Return a setting to an earlier value"}}

	ListServices = rpc.Endpoint[rpc.None, List[ServiceInstance]]{Spec: rpc.Spec{Service: "discovery", Name: "services",
		Method: "GET", Path: "/v1/mesh/services", Access: rpc.Admin,
		Summary: "Every instance of every service, its endpoints, health, latency and errors"}}
)

func configEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListSettings.Describe(), GetSetting.Describe(), PutSetting.Describe(),
		DeleteSetting.Describe(), GetSettingHistory.Describe(), RollbackToSetting.Describe()}
}

func discoveryEndpoints() []rpc.Descriptor { return []rpc.Descriptor{ListServices.Describe()} }
