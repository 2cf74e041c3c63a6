package system_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/starlightsymphony/starlight/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath, Dir, Doc string
	Imports, GoFiles     []string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("only %d packages", len(all))
	}
	return all
}

// under reports whether a package is one of the places, or within one.
func under(name string, places ...string) bool {
	return slices.ContainsFunc(places, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
}

// Who may import whom.
func TestImports(t *testing.T) {
	only := map[string][]string{ // a library, and where it may be imported
		"github.com/gofiber/fiber/v2":              {"gateway", "bench"},
		"github.com/nats-io/nats.go/micro":         {"shared/rpc", "svc/discovery"}, // discovery reads what micro says
		"github.com/nats-io/nats-server/v2/server": {"natsconf", "shared/testkit", "bench"},
		"github.com/uptrace/bun":                   {"shared/store", "shared/stream", "shared/idempotency", "shared/coherence", "shared/keyring", "shared/testkit", "svc", "bench"},
		"github.com/go-text/typesetting":           {"shared/document"},
		"go.etcd.io/bbolt":                         {"svc/analytics", "svc/edge"},
	}
	for _, p := range packages(t) {
		name := p.name()
		for _, imported := range p.Imports {
			for library, places := range only {
				if (imported == library || strings.HasPrefix(imported, library+"/")) && !under(name, places...) {
					t.Errorf("%s imports %s", name, imported)
				}
			}
			other, ours := strings.CutPrefix(imported, module)
			if !ours || under(name, "svc/system") || p.ImportPath+"/" == module {
				continue
			}
			service := strings.Join(strings.SplitN(name, "/", 3)[:min(2, strings.Count(name, "/")+1)], "/")
			switch {
			case under(name, "svc") && !under(other, "shared", service):
				t.Errorf("%s imports %s: services meet in shared/api", name, other)
			case under(name, "gateway", "shared") && !under(other, "shared"):
				t.Errorf("%s imports %s", name, other)
			case under(name, "natsconf"):
				t.Errorf("%s imports %s", name, other)
			case under(name, "shared/fault", "shared/ids"):
				t.Errorf("%s imports %s: it stands below all others", name, other)
			}
		}
	}
}

// What a reader can expect of every file.
func TestTidiness(t *testing.T) {
	const longest = 450
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, f := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			lines := 0
			for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); lines++ {
				line := sc.Text()
				if strings.HasPrefix(line, "func init(") {
					t.Errorf("%s/%s:%d has an init function", p.name(), f, lines+1)
				}
				if strings.Contains(line, "TO"+"DO") || strings.Contains(line, "FIX"+"ME") {
					t.Errorf("%s/%s:%d is unfinished", p.name(), f, lines+1)
				}
			}
			if lines > longest {
				t.Errorf("%s/%s has %d lines", p.name(), f, lines)
			}
		}
	}
}
