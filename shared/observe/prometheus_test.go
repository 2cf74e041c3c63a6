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
	promtool(t, "", "check", "rules", "prometheus/starlight.rules.yml")
	promtool(t, "", "test", "rules", "prometheus/starlight.rules.test.yml")
}

// Each metric that a rule or a panel names must be declared somewhere in the program: a renamed metric would otherwise
// leave an alert that never fires.
func TestRulesAndDashboardNameRealMetrics(t *testing.T) {
	declared := declaredMetrics(t, "../..")
	names := regexp.MustCompile(`\bstarlight_[a-z_]+`)
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, file := range []string{"prometheus/starlight.rules.yml", "grafana/starlight.json"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// What rules record begins with the labels it keeps and a colon.
		text := regexp.MustCompile(`[a-z_]+:starlight_[a-z_]+:[a-z0-9_]+`).ReplaceAllString(string(data), "")
		found := names.FindAllString(text, -1)
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

func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("grafana/starlight.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	if board.UID == "" || len(board.Panels) == 0 {
		t.Error("the dashboard is empty")
	}
	// promtool knows PromQL: as rules, the expressions are checked like those of the rules.
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	ids := make(map[int]bool)
	for _, p := range board.Panels {
		if ids[p.ID] || len(p.Targets) == 0 {
			t.Errorf("panel %q: no own id or no query", p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			expr, err := json.Marshal(strings.ReplaceAll(target.Expr, "$service", ".*"))
			if err != nil {
				t.Fatal(err)
			}
			rules.WriteString("  - record: dashboard:query\n    expr: " + string(expr) + "\n")
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", "--lint=none", file)
}
