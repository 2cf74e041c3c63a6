package observe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/observe/exposition"
)

// Ops is the operations listener: metrics of every process, health in detail, profiles. It belongs on a loopback or an
// internal address.
//
// A page in a browser that can reach it must not read it under a name of its own (DNS rebinding), so without the token
// a Host is an IP address, localhost, or a name without dots. Profiles show memory: without the token they are for the
// own machine.
type Ops struct {
	Instance string     // unique among processes
	Registry *Registry  // the metrics of this process
	NATS     *nats.Conn // how the other processes are asked; nil shows this process alone
	Health   *Health
	Log      *slog.Logger
	Token    string // of the header Authorization: Bearer; "" means that there is none
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
	return o.guarded(mux)
}

// guarded refuses who may not see what is asked for.
func (o *Ops) guarded(routes http.Handler) http.Handler {
	want := sha256.Sum256([]byte("Bearer " + o.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		known := o.Token != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
		switch {
		case known:
		case !plainHost(r.Host):
			http.Error(w, "this name is not known here: use an IP address or the token", http.StatusForbidden)
			return
		case strings.HasPrefix(r.URL.Path, "/debug/") && !loopback(r.RemoteAddr):
			http.Error(w, "profiles are for the own machine, or for the token", http.StatusForbidden)
			return
		}
		routes.ServeHTTP(w, r)
	})
}

// plainHost reports whether no page of the web can have this Host.
func plainHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host != "" && !strings.Contains(host, ".")
}

func loopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
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
	f := exposition.FormatFor(strings.Join(r.Header.Values("Accept"), ","))
	if err := GatherMetrics(r.Context(), &buf, f, o.NATS, o.Instance, o.Registry); err != nil {
		// What could be gathered is still worth showing; starlight_instances tells that some are missing.
		o.Log.WarnContext(r.Context(), "metrics of other processes are missing", "error", err)
	}
	w.Header().Set("Content-Type", f.ContentType())
	w.Header().Set("Vary", "Accept")
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
