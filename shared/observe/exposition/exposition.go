// Package exposition puts metrics together that several processes show, and writes them in the formats that Prometheus
// reads.
package exposition

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
)

// Kind is the type of a family as the text format names it.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
	Summary   Kind = "summary"
)

// Family is what is said of the series of one name.
type Family struct {
	Kind Kind
	Help string
}

// Set is a set of metric families in the Prometheus text format, taken apart just far enough to group samples by family
// and to mark them with the instance they come from.
type Set struct {
	families map[string]*exposed
}

type exposed struct {
	Family
	samples []string // whole lines, without the line end
}

// New returns a set without families.
func New() *Set { return &Set{families: make(map[string]*exposed)} }

// Describe adds a family without samples. The first description of a name stays.
func (s *Set) Describe(name string, f Family) {
	if _, ok := s.families[name]; !ok {
		s.families[name] = &exposed{Family: f}
	}
}

// Add merges the text of one instance. Families and types that it describes become known; samples get the label
// instance in front. A family that an earlier instance described with another type is left out: one family cannot have
// two.
func (s *Set) Add(text []byte, instance string) {
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
			n, k := string(name), Kind(value)
			if known, ok := s.families[n]; ok && known.Kind != k {
				conflicting[n] = true
				continue
			}
			s.Describe(n, Family{Kind: k, Help: unescapeHelp(helps[n])})
		}
	}
	s.addSamplesExcept(text, instance, conflicting)
}

// AddSamples adds the sample lines of text to the families they belong to; samples of unknown families are dropped.
func (s *Set) AddSamples(text []byte, instance string) {
	s.addSamplesExcept(text, instance, nil)
}

func (s *Set) addSamplesExcept(text []byte, instance string, except map[string]bool) {
	for raw := range bytes.Lines(text) {
		line := strings.TrimRight(string(raw), "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.IndexAny(line, "{ ")
		if end <= 0 {
			continue
		}
		name, f := s.familyOf(line[:end])
		if f == nil || except[name] {
			continue
		}
		f.samples = append(f.samples, withInstance(line, end, instance))
	}
}

// familyOf finds the family of a sample: its own name, or that name without the ending of a histogram's parts.
func (s *Set) familyOf(sample string) (string, *exposed) {
	if f, ok := s.families[sample]; ok {
		return sample, f
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, ok := strings.CutSuffix(sample, suffix)
		if !ok {
			continue
		}
		if f, ok := s.families[base]; ok && (f.Kind == Histogram || f.Kind == Summary) {
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
	label := `{instance="` + EscapeLabel(instance) + `"`
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

// Append adds to the samples of a family, behind their values, what there is for the series.
func (s *Set) Append(name string, more func(series string) string) {
	f := s.families[name]
	if f == nil {
		return
	}
	for i, sample := range f.samples {
		series := sample[:max(strings.LastIndexByte(sample, ' '), 0)]
		f.samples[i] += more(series)
	}
}

// Write writes families by name; those without samples are left out. What was appended to samples is written too: the
// text format has no place for it.
func (s *Set) Write(w io.Writer, f Format) (int64, error) {
	var buf bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(s.families)) {
		family := s.families[name]
		switch {
		case len(family.samples) == 0:
		case f == OpenMetrics:
			s.writeOpenMetrics(&buf, name, family)
		default:
			buf.WriteString("# HELP " + name + " " + escapeHelp(family.Help) + "\n")
			buf.WriteString("# TYPE " + name + " " + string(family.Kind) + "\n")
			for _, sample := range family.samples {
				buf.WriteString(sample + "\n")
			}
		}
	}
	if f == OpenMetrics {
		buf.WriteString("# EOF\n")
	}
	return buf.WriteTo(w)
}

// EscapeLabel makes a value safe between the quotes of the text format.
func EscapeLabel(v string) string {
	v = strings.ToValidUTF8(v, "\uFFFD")
	if !strings.ContainsAny(v, "\\\"\n") { // a Replacer has a table of 4 kB
		return v
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v)
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
