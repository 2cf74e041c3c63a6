package observe_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	for _, file := range files(t, "prometheus/*.rules.yml") {
		promtool(t, "", "check", "rules", file)
	}
	for _, file := range files(t, "prometheus/*.test.yml") {
		promtool(t, "", "test", "rules", file)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		t.Fatalf("there is no %s: %v", pattern, err)
	}
	return all
}

// Each metric that a rule or a panel names must be declared somewhere in the program, or recorded by a rule: a renamed
// one would otherwise leave an alert that never fires.
func TestRulesAndDashboardsNameRealMetrics(t *testing.T) {
	declared := declaredMetrics(t, "../..")
	names := regexp.MustCompile(`[a-z_]+:starlight_[a-z_]+:[a-z0-9_]+|\bstarlight_[a-z_]+`)
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	rules := files(t, "prometheus/*.rules.yml")
	for _, file := range rules {
		for _, m := range regexp.MustCompile(`record: (\S+)`).FindAllStringSubmatch(read(t, file), -1) {
			declared[m[1]] = true
		}
	}
	for _, file := range append(rules, files(t, "grafana/*.json")...) {
		found := names.FindAllString(read(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", file)
		}
		slices.Sort(found)
		for _, name := range slices.Compact(found) {
			if !declared[name] && !declared[suffix.ReplaceAllString(name, "")] {
				t.Errorf("%s names %s, which nothing declares", file, name)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Whoever is woken by an alert finds a line that says what it means and what to do, and no line is of an alert that is
// gone.
func TestEachAlertHasItsLine(t *testing.T) {
	find := func(text, pattern string) (names []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	var alerts string
	for _, file := range files(t, "prometheus/*.rules.yml") {
		alerts += read(t, file)
	}
	want := find(alerts, `alert: (\S+)`)
	if got := find(read(t, "../../docs/operations.md"), `(?m)^\| (Starlight\w+) \| .{20}`); !slices.Equal(got, want) {
		t.Errorf("docs/operations.md explains\n%v\nof the alerts\n%v", got, want)
	}
}

func declaredMetrics(t *testing.T, root string) map[string]bool {
	t.Helper()
	literal := regexp.MustCompile(`"(starlight_[a-z_]+)[" ]`)
	declared := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range literal.FindAllSubmatch(data, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return declared
}

func TestDashboards(t *testing.T) {
	// promtool knows PromQL: as rules, the expressions are checked like those of the rules.
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	uids := make(map[string]bool)
	for _, file := range files(t, "grafana/*.json") {
		var board struct {
			UID    string
			Panels []struct {
				ID      int
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal([]byte(read(t, file)), &board); err != nil {
			t.Fatal(err)
		}
		if board.UID == "" || uids[board.UID] || len(board.Panels) == 0 {
			t.Errorf("%s is empty, or has the id of another one", file)
		}
		uids[board.UID] = true
		ids := make(map[int]bool)
		for _, p := range board.Panels {
			if ids[p.ID] || len(p.Targets) == 0 {
				t.Errorf("%s: panel %q: no own id or no query", file, p.Title)
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				expr, err := json.Marshal(strings.NewReplacer("$service", ".*", "$venue", ".*").Replace(target.Expr))
				if err != nil {
					t.Fatal(err)
				}
				rules.WriteString("  - record: dashboard:query\n    expr: " + string(expr) + "\n")
			}
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", "--lint=none", file)
}
