package system_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// mostIdleSeries is what a process with all services may show before it is used.
const mostIdleSeries = 1500

func TestIdleProcessShowsFewSeries(t *testing.T) {
	_, sys, _ := start(t, config(t.TempDir()))
	n := 0
	for line := range strings.Lines(exposition(t, sys.OpsURL())) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	if n > mostIdleSeries || n < 100 {
		t.Errorf("%d series, want at most %d", n, mostIdleSeries)
	}
}

func exposition(t *testing.T, ops string) string {
	t.Helper()
	resp, err := http.Get(ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rareMetrics have no series in a system in which nothing went wrong, and nothing unusual happened.
const rareMetrics = `^starlight_(rpc_(shed|expired|forged|stray|unknown_keys)_total|settings_rejected_total|` +
	`notification_(refused|webhook_attempts)_total|payment_(observations|refunds|disputes|provider_errors)_total|` +
	`ticketing_(venue_sales_flagged|flagged_scans|forwarded_scans|journal_refused|branches)_total)$`

// Every metric that a dashboard or a rule names is shown by a system that sells, admits and mails, or by the computer of
// a venue, and a Prometheus that scrapes them answers each query.
func TestDashboardsShowWhatIs(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Leaf = "127.0.0.1:0"
	hub, sys, _ := start(t, cfg)
	admin := hub.login(adminEmail)
	hub.unlimited(admin)
	hub.set(admin, "payment.sandbox", "true")
	_, owner := hub.join("owner@example.org")
	_, buyer := hub.join("buyer@example.org")
	h := &hall{hub: hub, owner: owner, event: hub.concert(owner, 100, 2500), cfg: cfg}
	order := call[api.Order](hub, 201, "POST", "/v1/orders", buyer, seats(h.event, 2))
	tickets := hub.pay(buyer, order)
	h.atHub(t, tickets[0])
	h.open(t, strings.TrimPrefix(leafURL(t, sys), "nats-leaf://"))
	at, opsOfVenue := testkit.FreeAddress(t), testkit.FreeAddress(t)
	h.p = spawn(t, "starlight", nil, "edge", "--venue", h.venue.ID.String(), "--hub", "nats-leaf://"+h.line.Addr,
		"--creds", h.creds, "--data", h.folder, "--http", at, "--ops", opsOfVenue)
	h.edge = &site{t: t, url: "http://" + at}
	h.take(t)
	h.atVenue(t, tickets[1])

	expressions := expressions(t)
	text := ""
	testkit.Eventually(t, 30*time.Second, func() error { // mails are sent a moment later
		text = exposition(t, sys.OpsURL()) + exposition(t, "http://"+opsOfVenue)
		var errs []error
		for where, all := range expressions {
			for _, expr := range all {
				if missing := notShown(text, expr); missing != "" {
					errs = append(errs, fmt.Errorf("%s names %s, which nothing shows: %s", where, missing, expr))
				}
			}
		}
		return errors.Join(errs...)
	})

	ask := prometheus(t, strings.TrimPrefix(sys.OpsURL(), "http://"), opsOfVenue)
	for where, all := range expressions {
		for _, expr := range all {
			expr = regexp.MustCompile(`\$(service|venue)`).ReplaceAllString(expr, ".*")
			if _, err := ask(expr); err != nil {
				t.Errorf("%s: %s: %v", where, expr, err)
			}
		}
	}
	// Scraped with honor_labels, the processes that a listener answers for keep their names; and the rules are evaluated.
	for _, expr := range []string{`starlight_rpc_busy{instance!=""}`, `slo:starlight_all:rate5m{slo="orders_failed"}`} {
		testkit.Eventually(t, 90*time.Second, func() error {
			if n, err := ask(expr); err != nil || n == 0 {
				return fmt.Errorf("%s has %d results: %w", expr, n, err)
			}
			return nil
		})
	}
}

// notShown returns a metric of an expression that an exposition lacks, or "".
func notShown(text, expr string) string {
	recorded := regexp.MustCompile(`[a-z_]+:starlight_[a-z_]+:[a-z0-9_]+`)
	rare := regexp.MustCompile(rareMetrics)
	for _, name := range regexp.MustCompile(`\bstarlight_[a-z_]+`).FindAllString(recorded.ReplaceAllString(expr, ""), -1) {
		if !strings.Contains(text, "\n"+name+"{") && !strings.Contains(text, "\n"+name+" ") && !rare.MatchString(name) {
			return name
		}
	}
	return ""
}

// expressions are all queries of the dashboards and rules, by file.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	boards, err := filepath.Glob("../../shared/observe/grafana/*.json")
	if err != nil || len(boards) < 6 {
		t.Fatalf("%d dashboards: %v", len(boards), err)
	}
	for _, file := range boards {
		var board struct {
			Panels []struct{ Targets []struct{ Expr string } }
		}
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &board)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range board.Panels {
			for _, q := range p.Targets {
				all[filepath.Base(file)] = append(all[filepath.Base(file)], q.Expr)
			}
		}
	}
	return all
}

// prometheus starts a Prometheus that scrapes the addresses every second, with the rules of the system. The returned
// function asks it, and returns how many results there are. Without a Prometheus the test ends here.
func prometheus(t *testing.T, targets ...string) (ask func(expr string) (int, error)) {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("prometheus is not installed (Debian package prometheus)")
		}
		t.Skip("prometheus is not installed: only the names of metrics were checked")
	}
	rules, err := filepath.Abs("../../shared/observe/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	dir, at := t.TempDir(), testkit.FreeAddress(t)
	cfg := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs:\n- {job_name: starlight, honor_labels: true, static_configs: [{targets: [%s]}]}\n",
		filepath.Join(rules, "*.rules.yml"), strings.Join(targets, ", "))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "tsdb"),
		"--web.listen-address", at, "--log.level", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ask = func(expr string) (int, error) {
		resp, err := http.Get("http://" + at + "/api/v1/query?query=" + url.QueryEscape(expr))
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		var answer struct {
			Status, Error string
			Data          struct{ Result []any }
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return 0, err
		}
		if answer.Status != "success" {
			return 0, fmt.Errorf("%s", answer.Error)
		}
		return len(answer.Data.Result), nil
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		if n, err := ask("starlight_instances"); err != nil || n == 0 {
			return fmt.Errorf("%d targets were scraped: %w", n, err)
		}
		return nil
	})
	return ask
}
