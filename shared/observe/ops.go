package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/nats-io/nats.go"
)

// Ops is the operations listener: metrics of every process, health in detail, profiles. It has no access control and
// belongs on a loopback or an internal address.
type Ops struct {
	Instance string     // unique among processes
	Registry *Registry  // the metrics of this process
	NATS     *nats.Conn // how the other processes are asked; nil shows this process alone
	Health   *Health
	Log      *slog.Logger
}

// Handler returns the routes: GET /metrics, /healthz, /readyz and /debug/pprof/.
func (o *Ops) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", o.metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		o.json(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", o.readyz)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// Serve answers on ln until ctx ends, then lets what runs finish for up to five seconds. It closes ln.
func (o *Ops) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           o.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      90 * time.Second, // a CPU profile takes 30 seconds unless asked otherwise
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("operations listener: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		return errors.Join(fmt.Errorf("operations listener: %w", err), srv.Close())
	}
	return nil
}

func (o *Ops) metrics(w http.ResponseWriter, r *http.Request) {
	var buf bytes.Buffer
	if err := GatherMetrics(r.Context(), &buf, o.NATS, o.Instance, o.Registry); err != nil {
		// What could be gathered is still worth showing; starlight_instances tells that some are missing.
		o.Log.WarnContext(r.Context(), "metrics of other processes are missing", "error", err)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write(buf.Bytes())
}

func (o *Ops) readyz(w http.ResponseWriter, r *http.Request) {
	report := o.Health.Report(r.Context())
	status := http.StatusOK
	if !report.Ready {
		status = http.StatusServiceUnavailable
	}
	o.json(w, status, report)
}

func (o *Ops) json(w http.ResponseWriter, status int, v any) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(data, '\n'))
}
