// Package codec reads and writes the requests of endpoints, and describes their types as JSON Schemas.
//
// Everything that depends on the fields of a type follows from one walk over them, Fields: what a request may contain,
// where each value stands, what must be there, and what the documentation says of it.
package codec

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Source is where the value of a field comes from.
type Source string

// The sources. All but Body are named after their struct tag.
const (
	Body   Source = "json"
	Path   Source = "path"
	Query  Source = "query"
	Header Source = "header"
	Raw    Source = "body" // body:"raw", the body as it is
)

// AllHeaders is the name that the header tag of a map[string]string has: it takes every header that came.
const AllHeaders = "*"

// Field is a field of a request or response.
type Field struct {
	reflect.StructField
	Owner    reflect.Type // the struct that declares it
	Path     []int        // index sequence from the type that was walked, for reflect.Value.FieldByIndex
	In       Source
	Key      string // its name there: of a member, a parameter, a header
	Required bool
	Patch    bool // a Patch: null clears it
}

// Fields returns the fields of a struct in the order of their declaration. Those of an embedded struct without a json
// tag stand in its place; they are optional if a pointer to it is embedded, which only responses may have. Fields that
// are not exported, and json:"-" without another source, are left out.
func Fields(t reflect.Type) []Field { return walk(t, nil) }

func walk(t reflect.Type, at []int) []Field {
	var all []Field
	for i := range t.NumField() {
		f := t.Field(i)
		path := append(slices.Clone(at), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("json") == "" {
			all = append(all, walk(f.Type, path)...)
			continue
		}
		if f.Anonymous && f.Type.Kind() == reflect.Pointer && f.Tag.Get("json") == "" {
			for _, field := range walk(f.Type.Elem(), path) {
				field.Required = false
				all = append(all, field)
			}
			continue
		}
		if field, ok := fieldOf(f); ok {
			field.Owner, field.Path = t, path
			all = append(all, field)
		}
	}
	return all
}

func fieldOf(f reflect.StructField) (Field, bool) {
	for _, in := range []Source{Path, Query, Header, Raw} {
		if name, ok := f.Tag.Lookup(string(in)); ok {
			required := in == Path || f.Tag.Get("required") == "true"
			return Field{StructField: f, In: in, Key: name, Required: required}, true
		}
	}
	tag := f.Tag.Get("json")
	if tag == "-" || !f.IsExported() {
		return Field{}, false
	}
	name, options, _ := strings.Cut(tag, ",")
	if name == "" {
		name = f.Name
	}
	optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero") ||
		f.Type.Kind() == reflect.Pointer || f.Tag.Get("required") == "false"
	return Field{StructField: f, In: Body, Key: name, Required: !optional, Patch: patchedType(f.Type) != nil}, true
}

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
