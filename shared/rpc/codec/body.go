package codec

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// shape is the form of the JSON values of a Go type. encoding/json takes "Name" for "name", the last of two equal keys,
// and the NUL character that no database text can hold; and it does not say which field held a malformed id. So a body
// is walked along its shape first.
type shape struct {
	kind    shapeKind
	typ     reflect.Type
	members map[string]*member // of an object
	elem    *shape             // of a list or a map
}

type member struct {
	shape *shape
	patch bool // a Patch: null clears it
}

type shapeKind int

const (
	leaf   shapeKind = iota // a scalar, or a type that reads itself
	object                  // a struct
	list
	dictionary
)

// shapes remembers the shapes under construction, for types that contain themselves.
type shapes map[reflect.Type]*shape

func (all shapes) of(t reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		return all.of(t.Elem())
	}
	if elem := patchedType(t); elem != nil {
		return all.of(elem)
	}
	if s := all[t]; s != nil {
		return s
	}
	s := &shape{typ: t}
	all[t] = s
	ptr := reflect.PointerTo(t)
	switch {
	case ptr.Implements(reflect.TypeFor[json.Unmarshaler]()),
		ptr.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
	case t.Kind() == reflect.Struct:
		s.kind = object
		s.members = map[string]*member{}
		for _, f := range Fields(t) {
			if f.In == Body {
				s.members[f.Key] = &member{shape: all.of(f.Type), patch: f.Patch}
			}
		}
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8, t.Kind() == reflect.Array:
		s.kind, s.elem = list, all.of(t.Elem())
	case t.Kind() == reflect.Map:
		s.kind, s.elem = dictionary, all.of(t.Elem())
	}
	return s
}

// unmarshal decodes data, which must hold exactly one JSON value of the shape, into v. In a patch only a Patch can be
// null.
func (s *shape) unmarshal(data []byte, v any, patch bool) error {
	if !utf8.Valid(data) {
		return fault.New(fault.Invalid, "the body is not valid UTF-8")
	}
	if !json.Valid(data) {
		return notJSON(data)
	}
	var w walker
	w.data, w.patch = data, patch
	w.value(s)
	if len(w.wrong) == 0 {
		err := json.Unmarshal(data, v)
		if err == nil {
			return nil
		}
		w.wrong = nil
	}
	w = walker{data: data, patch: patch, leaves: true} // something is wrong: find out all of it
	w.value(s)
	if len(w.wrong) == 0 {
		return fault.New(fault.Invalid, "the body does not have the expected form")
	}
	var check fault.Check
	for _, f := range w.wrong {
		check.Field(false, f.Field, "%s", f.Detail)
	}
	return check.Err()
}

func notJSON(data []byte) error {
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fault.New(fault.Invalid, "the body is not JSON: %s, at byte %d", syntax, syntax.Offset)
	}
	return fault.New(fault.Invalid, "the body is not JSON")
}

// walker goes through JSON that is known to be valid.
type walker struct {
	data   []byte
	pos    int
	path   []step
	patch  bool // the members of the outermost object are null only if they are Patches
	leaves bool // also try to decode each leaf
	wrong  []fault.Field
}

type step struct {
	name   string
	index  int // used if inList
	inList bool
}

const mostWrong = 20 // fields that are reported

func (w *walker) fail(format string, args ...any) {
	if len(w.wrong) >= mostWrong {
		return
	}
	var b strings.Builder
	for _, s := range w.path {
		if s.inList {
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
	}
	field := b.String()
	if field == "" {
		field = "body"
	}
	w.wrong = append(w.wrong, fault.Field{Field: field, Detail: fmt.Sprintf(format, args...)})
}

func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return
		}
	}
}

// value passes over one value and checks it against s. Without a shape only its text is checked.
func (w *walker) value(s *shape) {
	w.space()
	start := w.pos
	c := w.data[w.pos]
	expect := leaf
	if s != nil {
		expect = s.kind
	}
	if c == 'n' && len(w.path) > 0 { // null reads as absent, but the body itself must be there
		w.pos += len("null")
		return
	}
	switch {
	case expect == object && c != '{', expect == dictionary && c != '{':
		w.fail("must be an object")
		s = nil
	case expect == list && c != '[':
		w.fail("must be a list")
		s = nil
	}
	switch c {
	case '{':
		w.object(s)
	case '[':
		w.list(s)
	case '"':
		w.text()
	default:
		for w.pos < len(w.data) && !bytes.ContainsRune([]byte(" \t\r\n,]}"), rune(w.data[w.pos])) {
			w.pos++
		}
	}
	if w.leaves && s != nil && s.kind == leaf {
		w.try(s.typ, w.data[start:w.pos])
	}
}

// text passes over a string and returns it without its quotes, still escaped.
func (w *walker) text() []byte {
	start := w.pos + 1
	for w.pos = start; w.data[w.pos] != '"'; w.pos++ {
		if w.data[w.pos] != '\\' {
			continue
		}
		if bytes.HasPrefix(w.data[w.pos:], []byte(`\u0000`)) {
			w.fail("must not contain the NUL character")
		}
		w.pos++
	}
	w.pos++
	return w.data[start : w.pos-1]
}

func (w *walker) object(s *shape) {
	var seen map[string]bool
	w.pos++ // {
	for {
		w.space()
		switch w.data[w.pos] {
		case '}':
			w.pos++
			return
		case ',':
			w.pos++
			continue
		}
		key := w.text()
		if bytes.IndexByte(key, '\\') >= 0 {
			var plain string
			if json.Unmarshal(w.data[w.pos-len(key)-2:w.pos], &plain) == nil {
				key = []byte(plain)
			}
		}
		w.space()
		w.pos++ // :
		if seen == nil {
			seen = make(map[string]bool, 8)
		}
		name := string(key)
		var m *member
		if s != nil && s.kind == object {
			m = s.members[name]
		}
		w.path = append(w.path, step{name: clip(name)})
		if seen[name] {
			w.fail("given twice")
		}
		seen[name] = true
		switch {
		case m != nil:
			w.space()
			if w.patch && len(w.path) == 1 && !m.patch && w.data[w.pos] == 'n' {
				w.fail("must not be null")
			}
			w.value(m.shape)
		case s != nil && s.kind == object:
			w.fail("unknown field")
			w.value(nil)
		case s != nil:
			w.value(s.elem)
		default:
			w.value(nil)
		}
		w.path = w.path[:len(w.path)-1]
	}
}

func (w *walker) list(s *shape) {
	w.pos++ // [
	for i := 0; ; i++ {
		w.space()
		switch w.data[w.pos] {
		case ']':
			w.pos++
			return
		case ',':
			w.pos++
			i--
			continue
		}
		w.path = append(w.path, step{index: i, inList: true})
		if s != nil {
			w.value(s.elem)
		} else {
			w.value(nil)
		}
		w.path = w.path[:len(w.path)-1]
	}
}

// try decodes a leaf and records why it does not fit.
func (w *walker) try(t reflect.Type, raw []byte) {
	err := json.Unmarshal(raw, reflect.New(t).Interface())
	if err == nil {
		return
	}
	var mismatch *json.UnmarshalTypeError
	switch {
	case t == reflect.TypeFor[time.Time]():
		w.fail("must be a time as in 2026-05-01T18:00:00Z")
	case !errors.As(err, &mismatch):
		w.fail("%s", err)
	case t.Kind() == reflect.String || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		w.fail("must be text")
	case t.Kind() == reflect.Bool:
		w.fail("must be true or false")
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		w.fail("must be a whole number within range")
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		w.fail("must be a number")
	default:
		w.fail("has the wrong type")
	}
}
