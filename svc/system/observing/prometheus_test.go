package observing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

const (
	boards     = "../../../shared/observe/grafana/*.json"
	rules      = "../../../shared/observe/prometheus/*.rules.yml"
	configured = "../../../deploy/prometheus.yml"
)

// wellAndQuiet are metrics that have no series as long as nothing goes wrong and nobody has asked for the thing, and
// what is shown only while it is above zero.
var wellAndQuiet = regexp.MustCompile(`starlight_(rpc_(shed|expired|forged|stray)_total|consumer_replays_waiting|` +
	`payment_provider_errors_total|payment_observations_total\{verdict=~"mismatch|` +
	`ticketing_(flagged_scans_total|venue_sales_flagged_total|journal_refused_total)|` +
	`notification_(refused_total|webhook_attempts_total|messages_total\{outcome="failed"))|> 0$`)

// A Prometheus with the configuration and the rules that are delivered scrapes a system that sells, and a venue that
// admits. Each panel has data, each rule is evaluated and names metrics that there are, and the alert about a process
// that is gone begins and ends.
func TestPrometheus(t *testing.T) {
	cfg := config(t)
	cfg.Leaf = "127.0.0.1:0"
	hub, s, _ := systemtest.Start(t, cfg)
	p := startPrometheus(t, strings.TrimPrefix(s.OpsURL(), "http://"), venue(t, hub, s, cfg))
	member := join(t, s, cfg, "ticketing")
	// A series begins with its first request, which is no increase of it: of three at two processes one is.
	const orders = `starlight_rpc_requests_total{service="ticketing",endpoint="create_order",code="ok"}`
	for n := range 3 {
		sell(t, s)
		p.holds(t, fmt.Sprintf("sum(%s) > %d", orders, n))
	}

	for file, queries := range panels(t) {
		for title, query := range queries {
			quiet := wellAndQuiet.MatchString(query)
			testkit.Eventually(t, 30*time.Second, func() error { // a rate needs two samples
				got, err := p.ask(query)
				if err == nil && len(got) == 0 && !quiet {
					err = errors.New("no data")
				}
				if err != nil {
					return fmt.Errorf("%s: %s: %s: %w", file, title, query, err)
				}
				return nil
			})
		}
	}
	// What people did can be read from it, and the processes that the listener answers for have their own names.
	p.holds(t, `sum(increase(`+orders+`[5m])) > 0`)
	p.holds(t, `slo:starlight_all:rate5m{slo="orders_failed"} > 0`)
	p.holds(t, `slo:starlight_bad:ratio_rate5m{slo="orders_failed"} == 0`)
	p.holds(t, `service_endpoint:starlight_rpc_duration_seconds:p99_5m{service="ticketing",endpoint="create_order"} > 0`)
	p.holds(t, `count(count by (instance) (starlight_rpc_busy{service="ticketing"})) == 2`)
	p.holds(t, `absent({exported_instance!=""}) and on() up{job="starlight"} == 1`)
	p.evaluated(t)
	p.knows(t)

	const gone = `ALERTS{alertname="StarlightInstanceMissing",alertstate="firing"}`
	p.holds(t, `starlight_instances == 2 unless on() `+gone)
	member.Kill()
	p.holds(t, gone)
	join(t, s, cfg, "ticketing")
	p.holds(t, `starlight_instances == 2 unless on() `+gone)
}

// holds waits until an expression has a result.
func (p *prometheusServer) holds(t *testing.T, expr string) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, func() error {
		got, err := p.ask(expr)
		if err != nil || len(got) == 0 {
			return fmt.Errorf("%s does not hold (%v)", expr, err)
		}
		return nil
	})
}

// evaluated fails the test unless every rule was evaluated without an error.
func (p *prometheusServer) evaluated(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, 30*time.Second, func() error {
		var data struct {
			Groups []struct {
				Rules []struct{ Name, Type, Health, LastError string }
			}
		}
		if err := p.get("/api/v1/rules", &data); err != nil {
			return err
		}
		var errs []error
		kinds := map[string]int{}
		for _, group := range data.Groups {
			for _, rule := range group.Rules {
				kinds[rule.Type]++
				if rule.Health != "ok" {
					errs = append(errs, fmt.Errorf("%s is %s: %s", rule.Name, rule.Health, rule.LastError))
				}
			}
		}
		if kinds["alerting"] < 30 || kinds["recording"] < 15 {
			errs = append(errs, fmt.Errorf("too few rules: %v", kinds))
		}
		return errors.Join(errs...)
	})
}

// rareMetrics have no series in a system in which nothing went wrong, and nothing unusual happened.
var rareMetrics = regexp.MustCompile(`^starlight_(rpc_(shed|expired|forged|stray|unknown_keys)_total|` +
	`settings_rejected_total|notification_(refused|webhook_attempts)_total|` +
	`payment_(observations|refunds|disputes|provider_errors)_total|` +
	`ticketing_(venue_sales_flagged|flagged_scans|forwarded_scans|journal_refused|branches)_total)$`)

// knows fails the test unless there is each metric that a rule names.
func (p *prometheusServer) knows(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(rules)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, file := range files {
		for _, expr := range regexp.MustCompile(`(?m)^ +expr: (?:\|\n(?: {10,}.*\n)+|.*$)`).FindAllString(string(read(t, file)), -1) {
			for _, name := range regexp.MustCompile(`[a-z_:]*\bstarlight_[a-z_]+`).FindAllString(expr, -1) {
				named[name] = !strings.Contains(name, ":") && !rareMetrics.MatchString(name)
			}
		}
	}
	var names []string
	if err := p.get("/api/v1/label/__name__/values", &names); err != nil {
		t.Fatal(err)
	}
	if len(named) < 30 {
		t.Errorf("the rules name %d metrics", len(named))
	}
	for name, shown := range named {
		if shown && !slices.Contains(names, name) {
			t.Errorf("a rule names %s, which nothing shows", name)
		}
	}
}

// panels are the queries of the dashboards by file, and by title with their number.
func panels(t *testing.T) map[string]map[string]string {
	t.Helper()
	files, err := filepath.Glob(boards)
	if err != nil || len(files) < 6 {
		t.Fatalf("%d dashboards: %v", len(files), err)
	}
	all := map[string]map[string]string{}
	for _, file := range files {
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(read(t, file), &board); err != nil {
			t.Fatal(err)
		}
		queries, anyOf := map[string]string{}, regexp.MustCompile(`\$(service|venue)`)
		for _, panel := range board.Panels {
			for i, target := range panel.Targets {
				queries[fmt.Sprintf("%s #%d", panel.Title, i+1)] = anyOf.ReplaceAllString(target.Expr, ".*")
			}
		}
		all[filepath.Base(file)] = queries
	}
	return all
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// prometheusServer is a Prometheus that runs.
type prometheusServer struct{ url string }

// startPrometheus starts a Prometheus with the configuration and the rules that are delivered, except that it scrapes
// the targets, and that everything goes by seconds: it looks every second, and alerts wait for one.
func startPrometheus(t *testing.T, targets ...string) *prometheusServer {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		testkit.Missing(t, "prometheus is not installed (Debian package prometheus)")
	}
	dir, at := t.TempDir(), testkit.FreeAddress(t)
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	changed := func(text, pattern, by string) string {
		if !regexp.MustCompile(pattern).MatchString(text) {
			t.Fatalf("there is no %s to change", pattern)
		}
		return regexp.MustCompile(pattern).ReplaceAllString(text, by)
	}
	text := changed(string(read(t, configured)), `gateway:9090`, strings.Join(targets, `", "`))
	text = changed(text, `/etc/prometheus/rules`, dir)
	put("prometheus.yml", changed(text, `_interval: 15s`, "_interval: 1s"))
	files, err := filepath.Glob(rules)
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files of rules: %v", len(files), err)
	}
	for _, file := range files {
		text := changed(string(read(t, file)), `(?m)^    interval: 30s$`, "    interval: 1s")
		put(filepath.Base(file), regexp.MustCompile(`(?m)^        for: \d+m$`).ReplaceAllString(text, "        for: 1s"))
	}
	run(t, path, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "tsdb"),
		"--web.listen-address", at, "--log.level", "warn", "--enable-feature", "exemplar-storage")
	p := &prometheusServer{"http://" + at}
	testkit.Eventually(t, 30*time.Second, func() error {
		got, err := p.ask("starlight_instances")
		if err == nil && len(got) == 0 {
			return errors.New("nothing was scraped")
		}
		return err
	})
	return p
}

// get asks for a page of the API.
func (p *prometheusServer) get(path string, data any) error {
	resp, err := http.Get(p.url + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return nil
}

// ask returns the series that an expression has now.
func (p *prometheusServer) ask(expr string) ([]any, error) {
	var data struct{ Result []any }
	err := p.get("/api/v1/query?query="+url.QueryEscape(expr), &data)
	return data.Result, err
}
