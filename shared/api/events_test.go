package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

const eventsIntro = `# Domain events

<!-- Written by go test ./shared/api -update from the declarations in shared/api. -->

A domain event is a JSON message in the stream EVENTS, which keeps it for 366 days. It is published after the transaction
of the change has committed, at least once, with its message id in the header ` + "`Nats-Msg-Id`" + `: a consumer that has
seen the id ignores the message. The order of one outbox is kept, but not after every failure; where it matters, the
payload has a revision or a time. A consumer ignores fields that it does not know. Times are RFC 3339 in UTC, amounts are
in minor units.

The same for programs: [asyncapi.json](asyncapi.json), AsyncAPI 3.0.

To watch them: ` + "`nats --creds data/creds/ops.creds sub 'ev.>'`" + `

`

// docs/events.md has every domain event that shared/api declares, with its payload.
func TestEventsPage(t *testing.T) {
	isCurrent(t, filepath.Join("..", "..", "docs", "events.md"), eventsPage(t))
}

// A topic that is declared but not listed in Topics would be missing on the page.
func TestTopicsAreListed(t *testing.T) {
	declared := declaredTopics(t)
	listed := map[string]bool{}
	for _, d := range api.Topics() {
		if listed[d.Subject] {
			t.Errorf("%s is listed twice", d.Subject)
		}
		listed[d.Subject] = true
		if !declared[d.Subject] {
			t.Errorf("%s is listed and not declared", d.Subject)
		}
	}
	for subject := range declared {
		if !listed[subject] {
			t.Errorf("%s is declared and not in Topics", subject)
		}
	}
}

// declaredTopics returns the subjects of all Topic values in the source of shared/api.
func declaredTopics(t *testing.T) map[string]bool {
	t.Helper()
	subjects := map[string]bool{}
	for _, file := range source(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			of, ok := lit.Type.(*ast.IndexExpr)
			if !ok || fmt.Sprint(of.X) != "Topic" || len(lit.Elts) == 0 {
				return true
			}
			if subject, ok := lit.Elts[0].(*ast.BasicLit); ok {
				subjects[strings.Trim(subject.Value, `"`)] = true
			}
			return true
		})
	}
	if len(subjects) == 0 {
		t.Fatal("no topic is declared")
	}
	return subjects
}

func source(t *testing.T) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// payloads writes down types and, for each type, the types of its fields.
type payloads struct {
	notes map[string]string // comment of Type and of Type.Field
	queue []reflect.Type
	seen  map[reflect.Type]bool
}

func eventsPage(t *testing.T) []byte {
	t.Helper()
	p := payloads{notes: notes(t), seen: map[reflect.Type]bool{}}
	var out bytes.Buffer
	out.WriteString(eventsIntro)
	service := ""
	for _, d := range api.Topics() {
		if s := strings.Split(d.Subject, ".")[1]; s != service {
			service = s
			fmt.Fprintf(&out, "## Published by %s\n\n| subject | when | payload |\n|---|---|---|\n", service)
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", d.Subject, d.Summary, p.name(d.Payload))
		if next := following(d.Subject); next != service {
			out.WriteByte('\n')
		}
	}
	out.WriteString("## Payloads\n")
	for len(p.queue) > 0 {
		next := p.queue[0]
		p.queue = p.queue[1:]
		p.write(&out, next)
	}
	return out.Bytes()
}

// following returns the service of the topic after the one of the subject.
func following(subject string) string {
	topics := api.Topics()
	for i, d := range topics[:len(topics)-1] {
		if d.Subject == subject {
			return strings.Split(topics[i+1].Subject, ".")[1]
		}
	}
	return ""
}

func (p *payloads) write(out *bytes.Buffer, t reflect.Type) {
	fmt.Fprintf(out, "\n### %s\n\n", t.Name())
	if note := p.notes[t.Name()]; note != "" {
		fmt.Fprintf(out, "%s\n\n", note)
	}
	out.WriteString("| field | type | |\n|---|---|---|\n")
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		note := p.notes[t.Name()+"."+f.Name]
		if strings.Contains(options, "omit") {
			note = strings.TrimSuffix("optional; "+note, "; ")
		}
		fmt.Fprintf(out, "| `%s` | %s | %s |\n", name, p.name(f.Type), strings.ReplaceAll(note, "|", `\|`))
	}
}

// name returns how the page calls a type, and puts structs into the queue.
func (p *payloads) name(t reflect.Type) string {
	if pattern, ok := reflect.Zero(t).Interface().(interface{ Pattern() string }); ok {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(pattern.Pattern(), "^"), "_")
		return "`" + prefix + "_…`"
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[json.RawMessage]():
		return "any JSON"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return p.name(t.Elem())
	case reflect.Slice:
		return "list of " + p.name(t.Elem())
	case reflect.Map:
		return "object of " + p.name(t.Elem())
	case reflect.Struct:
		if !p.seen[t] {
			p.seen[t] = true
			p.queue = append(p.queue, t)
		}
		return fmt.Sprintf("[%s](#%s)", t.Name(), strings.ToLower(t.Name()))
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Float64:
		return "number"
	}
	return t.Kind().String()
}

// notes returns the comments of types and fields of shared/api.
func notes(t *testing.T) map[string]string {
	t.Helper()
	notes := map[string]string{}
	line := func(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }
	for _, file := range source(t) {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, spec := range gen.Specs {
				spec := spec.(*ast.TypeSpec)
				notes[spec.Name.Name] = line(gen.Doc)
				fields, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range fields.Fields.List {
					for _, name := range f.Names {
						notes[spec.Name.Name+"."+name.Name] = strings.TrimSpace(line(f.Doc) + " " + line(f.Comment))
					}
				}
			}
		}
	}
	return notes
}
