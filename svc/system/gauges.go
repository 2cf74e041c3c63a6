package system

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/store"
)

// showStream shows how full a stream is. All processes see the same, about every 30 seconds.
func (s *System) showStream(info *jetstream.StreamInfo) {
	gauge := func(name, help string, value float64) {
		s.registry.Gauge(name, help, "stream", info.Config.Name).Set(value)
	}
	gauge("starlight_stream_messages", "Messages of a stream.", float64(info.State.Msgs))
	gauge("starlight_stream_bytes", "Bytes of a stream, in one copy.", float64(info.State.Bytes))
	behind := 0
	if info.Cluster != nil {
		for _, peer := range info.Cluster.Replicas {
			if peer.Offline || !peer.Current {
				behind++
			}
		}
	}
	gauge("starlight_stream_replicas_behind", "Copies of a stream that are offline or not current.", float64(behind))
}

// showDatabase shows how busy the database of a service is.
func (s *System) showDatabase(db *store.DB) {
	of := func(name, help string, value func() float64) {
		s.registry.GaugeFunc(name, help, value, "service", db.Service())
	}
	of("starlight_database_connections", "Connections of a service's pool that are in use.",
		func() float64 { return float64(db.Stats().InUse) })
	of("starlight_database_connections_limit", "The most connections of a service's pool.",
		func() float64 { return float64(db.Stats().MaxOpenConnections) })
	of("starlight_database_waiting", "Transactions that wait for the one writer of SQLite; 0 on PostgreSQL.",
		func() float64 { return float64(db.Waiting()) })
}
