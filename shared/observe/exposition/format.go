package exposition

import (
	"mime"
	"strconv"
	"strings"
)

// Format is one of the formats in which metrics are shown.
type Format int

// The formats.
const (
	Text        Format = iota // of Prometheus, version 0.0.4: without exemplars
	OpenMetrics               // version 1.0.0, with exemplars
)

// ContentType returns what the header Content-Type says of the format.
func (f Format) ContentType() string {
	if f == OpenMetrics {
		return "application/openmetrics-text; version=1.0.0; charset=utf-8"
	}
	return "text/plain; version=0.0.4; charset=utf-8"
}

// FormatFor returns the format that the header Accept likes best: OpenMetrics if it is named and liked as well as the
// text, or liked better. Who accepts neither gets the text.
func FormatFor(accept string) Format {
	var open, text preference
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		version, versioned := params["version"]
		switch media {
		case "*/*":
			open.see(wildcard, q)
			text.see(wildcard, q)
		case "application/*":
			open.see(wildcardOf, q)
		case "text/*":
			text.see(wildcardOf, q)
		case "application/openmetrics-text":
			if !versioned || version == "1.0.0" {
				open.see(named, q)
			}
		case "text/plain":
			if !versioned || version == "0.0.4" {
				text.see(named, q)
			}
		}
	}
	if open.q > text.q || open.q == text.q && open.q > 0 && open.by == named {
		return OpenMetrics
	}
	return Text
}

// How closely a header names a format: the closest counts.
const (
	wildcard = 1 + iota
	wildcardOf
	named
)

// preference is how much a format is liked, from 0 to 1, by what names it most closely.
type preference struct {
	by int
	q  float64
}

// see takes in one more of a header's ranges.
func (p *preference) see(by int, q float64) {
	if by > p.by || by == p.by && q > p.q {
		p.by, p.q = by, q
	}
}
