package system_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
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
		"github.com/gofiber/fiber/v2":              {"gateway", "bench", "svc/edge"},
		"github.com/nats-io/nats.go/micro":         {"shared/rpc", "svc/discovery"}, // discovery reads what micro says
		"github.com/nats-io/nats-server/v2/server": {"natsconf", "shared/testkit", "svc/system/systemtest", "bench"},
		"github.com/uptrace/bun": {"shared/store", "shared/stream", "shared/idempotency", "shared/coherence",
			"shared/keyring", "shared/quota", "shared/seal", "shared/auditlog", "shared/testkit", "svc", "bench"},
		"github.com/go-text/typesetting": {"shared/document"},
		"go.etcd.io/bbolt":               {"svc/analytics", "svc/edge", "bench"},
		"go.opentelemetry.io/otel":       {"shared/tracing"},
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
			case under(name, "gateway") && !under(other, "gateway", "shared"),
				under(name, "shared") && !under(other, "shared"):
				t.Errorf("%s imports %s", name, other)
			case under(name, "natsconf") && !under(other, "natsconf"):
				t.Errorf("%s imports %s", name, other)
			case under(name, "shared/fault", "shared/ids"):
				t.Errorf("%s imports %s: it stands below all others", name, other)
			}
		}
	}
}

// Bounds of a file and of a package, for a reader.
const (
	mostLines   = 400
	mostColumns = 120 // a tab counts four
	mostFiles   = 15  // of a package, without its tests
)

// largePackages have more than mostFiles, each for a reason.
var largePackages = map[string]int{
	"svc/event":        24, // one model, which each of the files reads or changes
	"gateway/pages":    34, // a file for each thing that people do, on one session and one frame
	"gateway":          24, // what HTTP needs around a call: a file for each concern, and one table of routes
	"bench":            28, // a scenario a file, on one harness: one program that is read file by file
	"shared/api":       49, // the contract: a file for each service, one for each thing that all share
	"svc/ticketing":    34, // orders, tickets, admissions and sales, which meet in the transactions of one database
	"svc/notification": 20, // what happens to a message, from its cause to its outcome, a file for each part
	"svc/user":         26, // a file for each way to prove who one is, and to lose that again

	"svc/system/command": 18, // a file for each command
	"natsconf":           16, // the servers, and a file for each kind of member that connects to them
}

// What a reader can expect of every file.
func TestTidiness(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if most := max(mostFiles, largePackages[p.name()]); len(p.GoFiles) > most {
			t.Errorf("%s has %d files, more than %d", p.name(), len(p.GoFiles), most)
		}
		for _, f := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			checkFile(t, p.name(), f, text)
		}
	}
}

func checkFile(t *testing.T, pkg, file string, text []byte) {
	t.Helper()
	lines, raw := 0, false // raw: within a text in back quotes, which is as long as it is
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); lines++ {
		line := sc.Text()
		if strings.HasPrefix(line, "func init(") {
			t.Errorf("%s/%s:%d has an init function", pkg, file, lines+1)
		}
		if strings.Contains(line, "TO"+"DO") || strings.Contains(line, "FIX"+"ME") {
			t.Errorf("%s/%s:%d is unfinished", pkg, file, lines+1)
		}
		quotes := strings.Count(line, "`")
		columns := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
		if columns > mostColumns && !raw && quotes == 0 {
			t.Errorf("%s/%s:%d has %d columns", pkg, file, lines+1, columns)
		}
		raw = raw != (quotes%2 == 1)
	}
	if lines > mostLines {
		t.Errorf("%s/%s has %d lines", pkg, file, lines)
	}
}

// privateWords are not the trade's, and stand in no name and no text that a user or an operator reads. What to write
// instead is in CONTRIBUTING.md.
var privateWords = regexp.MustCompile(`(?i)\b(nobody|somebody|whoever|anybody|everybody|moot|remorse|lives?Hub)\b`)

// privateNames are words that no identifier may be.
var privateNames = []string{"books", "desk", "mood", "remorse", "lane", "moot", "owe", "repaid", "giveUp", "doubt", "suspect", "employ",
	"tells", "hears", "shows", "told"}

// Names and texts are in the words that a reader would search for.
func TestWords(t *testing.T) {
	exempt := []string{"svc/system/demo", "svc/system/systemtest", "bench", "shared/testkit"} // stories, and a Unix account
	for _, p := range packages(t) {
		if under(p.name(), exempt...) {
			continue
		}
		for _, f := range p.GoFiles {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, f), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident:
					if slices.Contains(privateNames, n.Name) {
						t.Errorf("%s: the name %s", fset.Position(n.Pos()), n.Name)
					}
				case *ast.BasicLit:
					if word := privateWords.FindString(n.Value); n.Kind == token.STRING && word != "" {
						t.Errorf("%s: a text says %q", fset.Position(n.Pos()), word)
					}
				}
				return true
			})
		}
	}
}
