package exposition

import (
	"bytes"
	"strconv"
	"strings"
)

// writeOpenMetrics writes a family as OpenMetrics 1.0 has it.
func (s *Set) writeOpenMetrics(buf *bytes.Buffer, name string, f *exposed) {
	called, kind := s.openName(name, f.Kind)
	buf.WriteString("# TYPE " + called + " " + kind + "\n")
	if unit := unitOf(called); unit != "" {
		buf.WriteString("# UNIT " + called + " " + unit + "\n")
	}
	buf.WriteString("# HELP " + called + " " + EscapeLabel(f.Help) + "\n")
	for _, sample := range f.samples {
		switch f.Kind {
		case Histogram:
			sample = withCanonical(sample, "le")
		case Summary:
			sample = withCanonical(sample, "quantile")
		}
		buf.WriteString(sample + "\n")
	}
}

// openName returns the name and the type of a family in OpenMetrics, where a counter has the name of its samples
// without _total. What cannot have a counter's name, or would take that of another family, is of type unknown.
func (s *Set) openName(name string, k Kind) (called, typ string) {
	switch k {
	case Gauge, Histogram, Summary:
		return name, string(k)
	case Counter:
		base, ok := strings.CutSuffix(name, "_total")
		if _, taken := s.families[base]; ok && !taken {
			return base, string(k)
		}
	}
	return name, "unknown"
}

// unitOf returns the unit that a family's name ends with, or "".
func unitOf(name string) string {
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(name, "_"+unit) {
			return unit
		}
	}
	return ""
}

// withCanonical writes the number in the last label of a sample, if that is the label of this name, as OpenMetrics
// wants numbers there: 1.0 for 1.
func withCanonical(sample, label string) string {
	end := labelsEnd(sample)
	if end < 2 || sample[end-1] != '"' {
		return sample
	}
	start := strings.LastIndexByte(sample[:end-1], '"') // a number has none, nor what stands in front of it
	name, value := sample[:max(start, 0)], sample[start+1:end-1]
	if !strings.HasSuffix(name, ","+label+"=") && !strings.HasSuffix(name, "{"+label+"=") {
		return sample
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || strings.ContainsAny(value, ".eEIiNn") {
		return sample
	}
	return sample[:start+1] + strconv.FormatFloat(n, 'f', 1, 64) + sample[end-1:]
}

// labelsEnd returns where the brace is that ends the labels of a sample, or 0.
func labelsEnd(sample string) int {
	quoted := false
	for i := 0; i < len(sample); i++ {
		switch c := sample[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == '}':
			return i
		}
	}
	return 0
}
