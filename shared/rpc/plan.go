package rpc

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// plan is how one request type is read from, and written to, its wire form. It is made once, when an endpoint is bound.
type plan struct {
	spec    Spec
	params  []param
	headers []param
	every   []int  // index of the field that takes all HTTP headers, or nil
	raw     []int  // index of the field that takes the body as it is, or nil
	body    *shape // of the JSON body
	fields  bool   // there are JSON fields at all
	needed  bool   // one of them is not optional: an empty body is a mistake
	none    bool   // nothing to read anywhere
}

// param is a field that comes from the URL or from a header.
type param struct {
	name  string
	index []int
	path  bool
	set   setter
	multi bool
}

type setter func(v reflect.Value, s string) error

// wild finds the {name} parts of a path.
var wild = regexp.MustCompile(`\{([a-z_]+)\}`)

// PathNames returns the names between braces in a path, in order.
func PathNames(path string) []string {
	var names []string
	for _, m := range wild.FindAllStringSubmatch(path, -1) {
		names = append(names, m[1])
	}
	return names
}

func newPlan(spec Spec, t reflect.Type) (*plan, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s: request type %v is not a struct", spec.Subject(), t)
	}
	p := &plan{spec: spec}
	if err := p.collect(t, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Subject(), err)
	}
	p.body = shapes{}.of(t)
	for _, m := range p.body.members {
		p.fields = true
		p.needed = p.needed || !m.optional
	}
	if p.raw != nil && p.fields {
		return nil, fmt.Errorf("%s: a raw body leaves no room for JSON fields", spec.Subject())
	}
	names := PathNames(spec.Path)
	for _, name := range names {
		if !slices.ContainsFunc(p.params, func(q param) bool { return q.path && q.name == name }) {
			return nil, fmt.Errorf("%s: no field is tagged path:%q", spec.Subject(), name)
		}
	}
	for _, q := range p.params {
		if q.path && !slices.Contains(names, q.name) {
			return nil, fmt.Errorf("%s: path %s has no {%s}", spec.Subject(), spec.Path, q.name)
		}
	}
	p.none = len(p.params) == 0 && len(p.headers) == 0 && p.every == nil && p.raw == nil && !p.fields
	return p, nil
}

// collect finds the tagged fields of t, also within embedded structs.
func (p *plan) collect(t reflect.Type, at []int) error {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clone(at), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("json") == "" {
			if err := p.collect(f.Type, index); err != nil {
				return err
			}
			continue
		}
		var kind, name string
		for _, k := range []string{"path", "query", "header", "body"} {
			if v, ok := f.Tag.Lookup(k); ok {
				kind, name = k, v
			}
		}
		if kind == "" {
			continue
		}
		if f.Tag.Get("json") != "-" || !f.IsExported() {
			return fmt.Errorf("field %s: tag %s wants an exported field with json:\"-\"", f.Name, kind)
		}
		if kind == "body" {
			if f.Type != reflect.TypeFor[[]byte]() || name != "raw" {
				return fmt.Errorf("field %s: body:\"raw\" wants []byte", f.Name)
			}
			p.raw = index
			continue
		}
		if kind == "header" && name == AllHeaders {
			if f.Type != reflect.TypeFor[map[string]string]() {
				return fmt.Errorf("field %s: header:%q wants map[string]string", f.Name, name)
			}
			p.every = index
			continue
		}
		set, err := setterOf(f.Type)
		if err != nil {
			return fmt.Errorf("field %s: %w", f.Name, err)
		}
		if least, ok := f.Tag.Lookup("minimum"); ok {
			if set, err = atLeast(least, f.Type, set); err != nil {
				return fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
		q := param{name: name, index: index, path: kind == "path", set: set, multi: f.Type.Kind() == reflect.Slice}
		if kind == "header" {
			p.headers = append(p.headers, q)
		} else {
			p.params = append(p.params, q)
		}
	}
	return nil
}

// setterOf returns how text becomes a value of type t.
func setterOf(t reflect.Type) (setter, error) {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		if t == reflect.TypeFor[time.Time]() {
			return setTime, nil
		}
		return func(v reflect.Value, s string) error {
			return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
		}, nil
	}
	switch t.Kind() {
	case reflect.String:
		return func(v reflect.Value, s string) error { v.SetString(s); return nil }, nil
	case reflect.Bool:
		return func(v reflect.Value, s string) error {
			if s != "true" && s != "false" {
				return fmt.Errorf("must be true or false")
			}
			v.SetBool(s == "true")
			return nil
		}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(v reflect.Value, s string) error {
			n, err := strconv.ParseInt(s, 10, t.Bits())
			if err != nil {
				return fmt.Errorf("must be a whole number")
			}
			v.SetInt(n)
			return nil
		}, nil
	case reflect.Float64:
		return func(v reflect.Value, s string) error {
			n, err := strconv.ParseFloat(s, 64)
			if err != nil || n != n || n-n != 0 { // neither NaN nor infinite
				return fmt.Errorf("must be a number")
			}
			v.SetFloat(n)
			return nil
		}, nil
	case reflect.Pointer:
		set, err := setterOf(t.Elem())
		return func(v reflect.Value, s string) error {
			v.Set(reflect.New(t.Elem()))
			return set(v.Elem(), s)
		}, err
	case reflect.Slice:
		set, err := setterOf(t.Elem())
		return func(v reflect.Value, s string) error {
			e := reflect.New(t.Elem()).Elem()
			if err := set(e, s); err != nil {
				return err
			}
			v.Set(reflect.Append(v, e))
			return nil
		}, err
	}
	return nil, fmt.Errorf("type %v cannot come from text", t)
}

// atLeast refuses numbers that are too small: also 0, which a missing value would be.
func atLeast(least string, t reflect.Type, set setter) (setter, error) {
	n, err := strconv.ParseInt(least, 10, 64)
	if err != nil || t.Kind() != reflect.Int {
		return nil, fmt.Errorf("tag minimum wants a number, and a field of type int")
	}
	return func(v reflect.Value, s string) error {
		if err := set(v, s); err != nil {
			return err
		}
		if v.Int() < n {
			return fmt.Errorf("must be at least %d", n)
		}
		return nil
	}, nil
}

func setTime(v reflect.Value, s string) error {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("must be a time as in 2026-05-01T18:00:00Z")
	}
	v.Set(reflect.ValueOf(at))
	return nil
}

// plain reports whether s may be taken as text from a URL or header: valid UTF-8 without control characters.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// encode writes req in its wire form: URL and header values into h, the rest as the body it returns.
func (p *plan) encode(req any, h nats.Header) ([]byte, error) {
	v := reflect.ValueOf(req).Elem()
	if len(p.params) > 0 {
		values := url.Values{}
		for _, q := range p.params {
			texts := textsOf(v.FieldByIndex(q.index))
			if len(texts) > 0 {
				values[q.name] = texts
			}
		}
		if len(values) > 0 {
			h[HeaderParams] = []string{values.Encode()}
		}
	}
	for _, q := range p.headers {
		if texts := textsOf(v.FieldByIndex(q.index)); len(texts) > 0 {
			h[HeaderHTTP+q.name] = texts[:1]
		}
	}
	if p.every != nil {
		for name, value := range v.FieldByIndex(p.every).Interface().(map[string]string) {
			h[HeaderHTTP+name] = []string{value}
		}
	}
	if p.raw != nil {
		return v.FieldByIndex(p.raw).Bytes(), nil
	}
	if !p.fields {
		return nil, nil
	}
	return json.Marshal(req)
}

// textsOf writes a field as the texts that its setter reads. A zero value is left out.
func textsOf(v reflect.Value) []string {
	if v.IsZero() {
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return []string{x.Format(time.RFC3339Nano)}
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			return nil
		}
		return []string{string(b)}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if e := v.Elem(); !e.IsZero() {
			return textsOf(e)
		}
		return []string{strings.Trim(fmt.Sprint(v.Elem().Interface()), " ")} // a pointer to zero is a value, not an absence
	case reflect.Slice:
		var all []string
		for i := range v.Len() {
			all = append(all, textsOf(v.Index(i))...)
		}
		return all
	}
	return []string{fmt.Sprint(v.Interface())}
}
