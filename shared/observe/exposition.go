package observe

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
)

// exposition is a set of metric families in the Prometheus text format, taken apart just far enough to group samples by
// family and to mark them with the instance they come from.
type exposition struct {
	families map[string]*exposed
}

type exposed struct {
	family
	samples []string // whole lines, without the line end
}

func newExposition() *exposition { return &exposition{families: make(map[string]*exposed)} }

// describe adds a family without samples. The first description of a name stays.
func (e *exposition) describe(name string, f family) {
	if _, ok := e.families[name]; !ok {
		e.families[name] = &exposed{family: f}
	}
}

// add merges the text of one instance. Families and types that it describes become known; samples get the label
// instance in front. A family that an earlier instance described with another type is left out: one family cannot have
// two.
func (e *exposition) add(text []byte, instance string) {
	conflicting := make(map[string]bool)
	helps := make(map[string]string)
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("# "))
		if !ok {
			continue
		}
		what, rest, _ := bytes.Cut(bytes.TrimRight(rest, "\r\n"), []byte(" "))
		name, value, _ := bytes.Cut(rest, []byte(" "))
		switch string(what) {
		case "HELP":
			helps[string(name)] = string(value)
		case "TYPE":
			n, k := string(name), kind(value)
			if known, ok := e.families[n]; ok && known.kind != k {
				conflicting[n] = true
				continue
			}
			e.describe(n, family{kind: k, help: unescapeHelp(helps[n])})
		}
	}
	e.addSamplesExcept(text, instance, conflicting)
}

// addSamples adds the sample lines of text to the families they belong to; samples of unknown families are dropped.
func (e *exposition) addSamples(text []byte, instance string) {
	e.addSamplesExcept(text, instance, nil)
}

func (e *exposition) addSamplesExcept(text []byte, instance string, except map[string]bool) {
	for raw := range bytes.Lines(text) {
		line := strings.TrimRight(string(raw), "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(line, "{ ")
		if end <= 0 {
			continue
		}
		name, f := e.familyOf(line[:end])
		if f == nil || except[name] {
			continue
		}
		f.samples = append(f.samples, withInstance(line, end, instance))
	}
}

// familyOf finds the family of a sample: its own name, or that name without the ending of a histogram's parts.
func (e *exposition) familyOf(sample string) (string, *exposed) {
	if f, ok := e.families[sample]; ok {
		return sample, f
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, ok := strings.CutSuffix(sample, suffix)
		if !ok {
			continue
		}
		if f, ok := e.families[base]; ok && (f.kind == kindHistogram || f.kind == kindSummary) {
			return base, f
		}
	}
	return "", nil
}

// withInstance puts the label in front of the others. end is where the sample's name ends.
func withInstance(line string, end int, instance string) string {
	if instance == "" {
		return line
	}
	label := `{instance="` + escapeLabel(instance) + `"`
	rest, ok := strings.CutPrefix(line[end:], "{")
	switch {
	case !ok:
		return line[:end] + label + "}" + line[end:]
	case strings.HasPrefix(rest, "}"):
		return line[:end] + label + rest
	default:
		return line[:end] + label + "," + rest
	}
}

// writeTo writes families by name; those without samples are left out.
func (e *exposition) writeTo(w io.Writer) (int64, error) {
	var buf bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(e.families)) {
		f := e.families[name]
		if len(f.samples) == 0 {
			continue
		}
		buf.WriteString("# HELP " + name + " " + escapeHelp(f.help) + "\n")
		buf.WriteString("# TYPE " + name + " " + string(f.kind) + "\n")
		for _, s := range f.samples {
			buf.WriteString(s)
			buf.WriteByte('\n')
		}
	}
	return buf.WriteTo(w)
}

func escapeHelp(s string) string {
	if !strings.ContainsAny(s, "\\\n") {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)
}

func unescapeHelp(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(s)
}
