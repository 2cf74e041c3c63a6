package codec

import (
	"bytes"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// Validator is implemented by requests that can check themselves. Decode calls it last.
type Validator interface{ Validate() error }

// Decode reads a request into req, a pointer to a value of the codec's type. Its errors are faults: NotFound for a path
// value that cannot name anything, Invalid for the rest, with all fields at fault.
func (r *Request) Decode(req any, m Message) error {
	if r.empty && len(m.Body) == 0 {
		if m.Params != "" {
			return r.decodeParams(reflect.Value{}, m.Params)
		}
		return nil
	}
	v := reflect.ValueOf(req).Elem()
	if err := r.decodeParams(v, m.Params); err != nil {
		return err
	}
	if err := r.decodeHeaders(v, m.Header); err != nil {
		return err
	}
	if r.all != nil {
		v.FieldByIndex(r.all).Set(reflect.ValueOf(r.headersOf(m.Header)))
	}
	if r.raw != nil {
		v.FieldByIndex(r.raw).SetBytes(m.Body)
	} else if err := r.decodeBody(req, m.Body); err != nil {
		return err
	}
	if val, ok := req.(Validator); ok {
		return val.Validate()
	}
	return nil
}

// headersOf returns the HTTP headers that travelled along, by their canonical names. One that is not plain text is left
// out.
func (r *Request) headersOf(headers map[string][]string) map[string]string {
	all := map[string]string{}
	for key, values := range headers {
		if name, ok := strings.CutPrefix(key, r.prefix); ok && len(values) > 0 && Plain(values[0]) {
			all[name] = values[0]
		}
	}
	return all
}

func (r *Request) decodeHeaders(v reflect.Value, headers map[string][]string) error {
	var check fault.Check
	for i := range r.headers {
		p := &r.headers[i]
		values := headers[p.wire]
		if len(values) == 0 || values[0] == "" {
			continue
		}
		if !Plain(values[0]) {
			check.Field(false, p.name, "must be plain text")
		} else if err := p.set(v.FieldByIndex(p.index), values[0]); err != nil {
			check.Field(false, p.name, "%s", err)
		}
	}
	return check.Err()
}

func (r *Request) decodeBody(req any, body []byte) error {
	body = bytes.TrimSpace(body)
	if len(body) > 0 {
		return r.body.unmarshal(body, req, r.patch)
	}
	if r.required {
		return fault.New(fault.Invalid, "the request needs a JSON body")
	}
	return nil
}

// decodeParams reads path and query values. It walks the text itself, because url.ParseQuery makes a map for each
// request, and most have one plain value.
func (r *Request) decodeParams(v reflect.Value, params string) error {
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
		if err != nil || !Plain(name) {
			return fault.New(fault.Invalid, "the query is not readable")
		}
		p := r.param(name)
		if p == nil {
			check.Field(false, clip(name), "unknown parameter")
			continue
		}
		value, err = unescape(value)
		if err == nil && !Plain(value) {
			err = fmt.Errorf("must be plain text")
		}
		if err == nil && !p.multi && contains(seen, name) {
			err = fmt.Errorf("given twice")
		}
		seen = append(seen, name)
		if err == nil && (value != "" || p.path) { // ?limit= is no limit
			err = p.set(v.FieldByIndex(p.index), value)
		}
		if err == nil {
			continue
		}
		if p.path {
			return fault.New(fault.NotFound, "there is nothing under this address")
		}
		check.Field(false, name, "%s", err)
	}
	return check.Err()
}

func (r *Request) param(name string) *param {
	for i := range r.params {
		if r.params[i].name == name {
			return &r.params[i]
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

// clip shortens a name that the caller made up, before it goes into a fault.
func clip(name string) string {
	const most = 64
	if r := []rune(name); len(r) > most {
		return string(r[:most]) + "…"
	}
	return name
}
