package discovery

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
)

// node is a service in a drawing.
type node struct {
	name               string
	instances, healthy int
	ejected            int // left alone by others
	requests, errors   uint64
	drifts             bool
	rank               int // 0: gateways, 1: services that they call, 2: those that only services call
}

// needsAttention reports whether instances are missing, ill or left alone, or not as declared.
func (n *node) needsAttention() bool {
	return n.healthy == 0 || n.healthy < n.instances || n.ejected > 0 || n.drifts
}

// nodes returns the services of a mesh, those that no instance answers for too, by rank and name.
func nodes(m *api.Mesh) []*node {
	at := map[string]*node{}
	of := func(name string) *node {
		if at[name] == nil {
			at[name] = &node{name: name, rank: 2}
		}
		return at[name]
	}
	for _, c := range m.Calls {
		of(c.From)
		if to := of(c.To); c.From == gateway {
			to.rank = 1
		}
	}
	for _, i := range m.Instances {
		n := of(i.Service)
		n.instances++
		if i.Healthy {
			n.healthy++
		}
		if i.EjectedBy > 0 {
			n.ejected++
		}
		if i.External {
			n.rank = 1
		}
		for _, e := range i.Endpoints {
			n.requests, n.errors = n.requests+e.Requests, n.errors+e.Errors
		}
	}
	for _, d := range m.Drift {
		of(d.Service).drifts = true
	}
	if n := at[gateway]; n != nil {
		n.rank = 0
	}
	return slices.SortedFunc(maps.Values(at), func(a, b *node) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return strings.Compare(a.name, b.name)
	})
}

// edges returns the calls of a mesh, with those of the gateway to third-party services.
func edges(m *api.Mesh) []api.MeshCall {
	out := slices.Clone(m.Calls)
	seen := map[string]bool{}
	for _, i := range m.Instances {
		if i.External && !seen[i.Service] {
			seen[i.Service] = true
			out = append(out, api.MeshCall{From: gateway, To: i.Service, Endpoints: len(i.Endpoints)})
		}
	}
	return out
}

// plainName makes a word of a name: third-party services name themselves.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s)
}

// Mermaid returns a mesh as a Mermaid flowchart.
func Mermaid(m *api.Mesh) string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, n := range nodes(m) {
		name := plainName(n.name)
		fmt.Fprintf(&b, "  %s[\"%s %d/%d\"]\n", name, name, n.healthy, n.instances)
		if n.needsAttention() {
			fmt.Fprintf(&b, "  class %s attention\n", name)
		}
	}
	for _, c := range edges(m) {
		fmt.Fprintf(&b, "  %s -->|%d| %s\n", plainName(c.From), c.Endpoints, plainName(c.To))
	}
	b.WriteString("  classDef attention stroke:#c00,stroke-width:3px\n")
	return b.String()
}

// The measures of the picture, in pixels.
const (
	boxWidth, boxHeight = 240, 56
	columnGap, rowGap   = 130, 22
	margin              = 24
)

// SVG returns a mesh as a picture: gateways on the left, then the services that they call, then the others. A red
// frame says that instances are missing, ill or left alone, or that there is drift.
func SVG(m *api.Mesh) []byte {
	all := nodes(m)
	var rows [3]int
	at := map[string][2]int{}
	for _, n := range all {
		at[n.name] = [2]int{margin + n.rank*(boxWidth+columnGap), margin + rows[n.rank]*(boxHeight+rowGap)}
		rows[n.rank]++
	}
	width, height := 3*boxWidth+2*columnGap, 2*margin+max(rows[0], rows[1], rows[2])*(boxHeight+rowGap)
	if rows[2] == 0 { // there are the lines around the services still
		width -= boxWidth
	}
	width += 2 * margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" `+
		`font-family="sans-serif" font-size="12"><title>Services, and who may call whom</title>`+"\n", width, height)
	for _, c := range edges(m) {
		drawCall(&b, at[c.From], at[c.To], c)
	}
	for _, n := range all {
		x, y := at[n.name][0], at[n.name][1]
		stroke := "#2b6"
		if n.needsAttention() {
			stroke = "#c22"
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="8" fill="#fff" stroke="%s" `+
			`stroke-width="2"/>`+"\n", x, y, boxWidth, boxHeight, stroke)
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold">%s</text>`, x+12, y+22, escaped(n.name))
		if n.ejected > 0 {
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#c22" text-anchor="end">%d left alone</text>`, x+boxWidth-12, y+22,
				n.ejected)
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#444">%d of %d healthy, %d requests, %d errors</text>`+"\n", x+12, y+42,
			n.healthy, n.instances, n.requests, n.errors)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// drawCall draws a line from the right of a box to the left of another, or around where they are in one column.
func drawCall(b *bytes.Buffer, from, to [2]int, c api.MeshCall) {
	x1, y1, x2, y2 := from[0]+boxWidth, from[1]+boxHeight/2, to[0], to[1]+boxHeight/2
	bend := columnGap / 2
	if to[0] <= from[0] { // back, or in the same column: by the right side
		x2, bend = to[0]+boxWidth, columnGap*2/3
	}
	end := x2 - bend
	if x2 > to[0] {
		end = x2 + bend
	}
	fmt.Fprintf(b, `<path d="M%d %dC%d %d %d %d %d %d" fill="none" stroke="#99a"><title>%s to %s: %d endpoints`+
		`</title></path>`+"\n", x1, y1, x1+bend, y1, end, y2, x2, y2, escaped(c.From), escaped(c.To), c.Endpoints)
}

func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
	return b.String()
}
