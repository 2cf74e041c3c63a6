package codec

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Request reads and writes the requests of one type. It is made once, when an endpoint is bound.
type Request struct {
	patch    bool
	prefix   string // of message headers that carry HTTP headers
	params   []param
	headers  []param
	all      []int  // index of the field that takes all HTTP headers, or nil
	raw      []int  // index of the field that takes the body as it is, or nil
	body     *shape // of the JSON body
	members  bool   // there are JSON members at all
	required bool   // one of them must be there: an empty body is a mistake
	empty    bool   // nothing to read anywhere
}

// Config is what the codec of a request needs to know besides its type.
type Config struct {
	Path         string // of HTTP, with {name} segments
	Patch        bool   // a PATCH: members that are no Patch cannot be null
	HeaderPrefix string // of the message headers that carry HTTP headers
}

// Message is a request in its wire form.
type Message struct {
	Params string              // path and query values, url.Values.Encode
	Header map[string][]string // HTTP headers, their names with Config.HeaderPrefix in front
	Body   []byte
}

// param is a field that comes from the URL or from a header.
type param struct {
	name  string // that the caller knows it by
	wire  string // with the prefix, for a header
	index []int
	path  bool
	multi bool
	set   setter
}

type setter func(v reflect.Value, s string) error

// NewRequest returns the codec of a request type. It fails if the type is not declared as a request can be.
func NewRequest(t reflect.Type, cfg Config) (*Request, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("request type %v is not a struct", t)
	}
	r := &Request{patch: cfg.Patch, prefix: cfg.HeaderPrefix, body: shapes{}.of(t)}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && f.Type.Kind() == reflect.Pointer {
			return nil, fmt.Errorf("field %s: a request embeds no pointers", f.Name)
		}
	}
	for _, f := range Fields(t) {
		if err := r.add(f); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
	}
	if r.raw != nil && r.members {
		return nil, fmt.Errorf("a raw body leaves no room for JSON fields")
	}
	r.empty = len(r.params) == 0 && len(r.headers) == 0 && r.all == nil && r.raw == nil && !r.members
	return r, r.checkPath(cfg.Path)
}

func (r *Request) add(f Field) error {
	if f.In == Body {
		r.members, r.required = true, r.required || f.Required
		return nil
	}
	if f.Tag.Get("json") != "-" || !f.IsExported() {
		return fmt.Errorf("tag %s wants an exported field with json:\"-\"", f.In)
	}
	if f.In == Raw {
		if f.Type != reflect.TypeFor[[]byte]() || f.Key != "raw" {
			return fmt.Errorf("body:\"raw\" wants []byte")
		}
		r.raw = f.Path
		return nil
	}
	if f.In == Header && f.Key == AllHeaders {
		if f.Type != reflect.TypeFor[map[string]string]() {
			return fmt.Errorf("header:%q wants map[string]string", f.Key)
		}
		r.all = f.Path
		return nil
	}
	set, err := setterOf(f.Type)
	if err != nil {
		return err
	}
	if least, ok := f.Tag.Lookup("minimum"); ok {
		if set, err = atLeast(least, f.Type, set); err != nil {
			return err
		}
	}
	p := param{name: f.Key, wire: r.prefix + f.Key, index: f.Path, path: f.In == Path,
		multi: f.Type.Kind() == reflect.Slice, set: set}
	if f.In == Header {
		r.headers = append(r.headers, p)
	} else {
		r.params = append(r.params, p)
	}
	return nil
}

// checkPath reports names of the path without a field, and fields without a name in the path.
func (r *Request) checkPath(path string) error {
	names := PathNames(path)
	for _, name := range names {
		if p := r.param(name); p == nil || !p.path {
			return fmt.Errorf("no field is tagged path:%q", name)
		}
	}
	for _, p := range r.params {
		if p.path && !slices.Contains(names, p.name) {
			return fmt.Errorf("path %s has no {%s}", path, p.name)
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

// Plain reports whether s may be taken as text from a URL or header: valid UTF-8 without control characters.
func Plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// Encode writes req, a pointer to a value of the codec's type, in its wire form.
func (r *Request) Encode(req any) (Message, error) {
	v := reflect.ValueOf(req).Elem()
	m := Message{Header: make(map[string][]string, len(r.headers))}
	values := url.Values{}
	for _, p := range r.params {
		if texts := textsOf(v.FieldByIndex(p.index)); len(texts) > 0 {
			values[p.name] = texts
		}
	}
	m.Params = values.Encode()
	for _, p := range r.headers {
		if texts := textsOf(v.FieldByIndex(p.index)); len(texts) > 0 {
			m.Header[p.wire] = texts[:1]
		}
	}
	if r.all != nil {
		for name, value := range v.FieldByIndex(r.all).Interface().(map[string]string) {
			m.Header[r.prefix+name] = []string{value}
		}
	}
	var err error
	switch {
	case r.raw != nil:
		m.Body = v.FieldByIndex(r.raw).Bytes()
	case r.members:
		m.Body, err = json.Marshal(req)
	}
	return m, err
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
		// a pointer to zero is a value, not an absence
		return []string{strings.Trim(fmt.Sprint(v.Elem().Interface()), " ")}
	case reflect.Slice:
		var all []string
		for i := range v.Len() {
			all = append(all, textsOf(v.Index(i))...)
		}
		return all
	}
	return []string{fmt.Sprint(v.Interface())}
}
