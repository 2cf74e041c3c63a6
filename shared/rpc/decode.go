package rpc

import (
	"bytes"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// Validator is implemented by requests that can judge themselves. It is called after decoding.
type Validator interface{ Validate() error }

// decode reads a request into req, a pointer to the plan's type. Its errors are faults: NotFound for a path value that
// cannot name anything, Invalid for the rest, with all fields at fault.
func (p *plan) decode(req any, h nats.Header, body []byte) error {
	if p.none && len(body) == 0 {
		if params := header(h, HeaderParams); params != "" {
			return p.decodeParams(reflect.Value{}, params)
		}
		return nil
	}
	v := reflect.ValueOf(req).Elem()
	if err := p.decodeParams(v, header(h, HeaderParams)); err != nil {
		return err
	}
	var check fault.Check
	for i := range p.headers {
		q := &p.headers[i]
		s := header(h, HeaderHTTP+q.name)
		if s == "" {
			continue
		}
		if !plain(s) {
			check.Field(false, q.name, "must be plain text")
		} else if err := q.set(v.FieldByIndex(q.index), s); err != nil {
			check.Field(false, q.name, "%s", err)
		}
	}
	if err := check.Err(); err != nil {
		return err
	}
	if p.every != nil {
		v.FieldByIndex(p.every).Set(reflect.ValueOf(headersOf(h)))
	}
	if p.raw != nil {
		v.FieldByIndex(p.raw).SetBytes(body)
	} else if err := p.decodeBody(req, body); err != nil {
		return err
	}
	if judge, ok := req.(Validator); ok {
		return judge.Validate()
	}
	return nil
}

// headersOf returns the HTTP headers that travelled along, by their canonical names. One that is not plain text is left
// out.
func headersOf(h nats.Header) map[string]string {
	all := map[string]string{}
	for key, values := range h {
		if name, ok := strings.CutPrefix(key, HeaderHTTP); ok && len(values) > 0 && plain(values[0]) {
			all[name] = values[0]
		}
	}
	return all
}

func (p *plan) decodeBody(req any, body []byte) error {
	body = bytes.TrimSpace(body)
	if len(body) > 0 {
		return p.body.unmarshal(body, req, p.spec.Method == "PATCH")
	}
	if p.needed {
		return fault.New(fault.Invalid, "the request needs a JSON body")
	}
	return nil
}

// decodeParams reads path and query values. It walks the text itself, because url.ParseQuery makes a map for each
// request, and most have one plain value.
func (p *plan) decodeParams(v reflect.Value, params string) error {
	var check fault.Check
	var given [16]string // names so far; declared names are few
	seen := given[:0]
	for rest := params; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := unescape(name)
		if err != nil || !plain(name) {
			return fault.New(fault.Invalid, "the query is not readable")
		}
		q := p.param(name)
		if q == nil {
			check.Field(false, clip(name), "unknown parameter")
			continue
		}
		value, err = unescape(value)
		if err == nil && !plain(value) {
			err = fmt.Errorf("must be plain text")
		}
		if err == nil && !q.multi && contains(seen, name) {
			err = fmt.Errorf("given twice")
		}
		seen = append(seen, name)
		if err == nil && (value != "" || q.path) { // ?limit= is no limit
			err = q.set(v.FieldByIndex(q.index), value)
		}
		if err == nil {
			continue
		}
		if q.path {
			return fault.New(fault.NotFound, "there is nothing under this address")
		}
		check.Field(false, name, "%s", err)
	}
	return check.Err()
}

func (p *plan) param(name string) *param {
	for i := range p.params {
		if p.params[i].name == name {
			return &p.params[i]
		}
	}
	return nil
}

func contains(seen []string, name string) bool {
	for _, s := range seen {
		if s == name {
			return true
		}
	}
	return false
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	t, err := url.QueryUnescape(s)
	if err != nil {
		return "", fmt.Errorf("is not URL-encoded")
	}
	return t, nil
}

// clip shortens a name that the caller made up, before it is told back.
func clip(name string) string {
	const most = 64
	if r := []rune(name); len(r) > most {
		return string(r[:most]) + "…"
	}
	return name
}
