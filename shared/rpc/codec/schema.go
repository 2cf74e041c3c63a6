package codec

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Schemas makes JSON Schemas (2020-12) of Go types. Structs with a name are described once, in Named, and referred to.
type Schemas struct {
	Named map[string]any          // by name
	Types map[string]reflect.Type // of Named

	// Annotate, if set, adds to the schema of a member what its type does not say, such as a description.
	Annotate func(f Field, schema map[string]any)

	ref string
}

// NewSchemas returns an empty collection whose references begin with ref, such as "#/components/schemas/".
func NewSchemas(ref string) *Schemas {
	return &Schemas{Named: map[string]any{}, Types: map[string]reflect.Type{}, ref: ref}
}

// Binary is implemented by types whose wire form is not JSON. They have no schema.
type Binary interface{ Binary() }

// Request returns the schema of the JSON body of a request type, or nil if it has none. Members that are not declared
// are refused, as the decoder does.
func (s *Schemas) Request(t reflect.Type) map[string]any { return s.body(t, true) }

// Response returns the schema of a response type, or nil if it has no JSON body.
func (s *Schemas) Response(t reflect.Type) map[string]any { return s.body(t, false) }

func (s *Schemas) body(t reflect.Type, closed bool) map[string]any {
	inBody := func(f Field) bool { return f.In == Body }
	if t.Implements(reflect.TypeFor[Binary]()) || t.Kind() == reflect.Struct &&
		!slices.ContainsFunc(Fields(t), inBody) {
		return nil
	}
	return s.of(t, closed)
}

// Value returns the schema of a type that stands by itself, such as that of a parameter.
func (s *Schemas) Value(t reflect.Type) map[string]any { return s.of(t, false) }

// patterned is implemented by the id types.
type patterned interface{ Pattern() string }

func (s *Schemas) of(t reflect.Type, closed bool) map[string]any {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem(), closed)
	}
	if elem := patchedType(t); elem != nil {
		return map[string]any{"oneOf": []any{s.of(elem, closed), map[string]any{"type": "null"}}}
	}
	if p, ok := reflect.Zero(t).Interface().(patterned); ok {
		return map[string]any{"type": "string", "pattern": p.Pattern()}
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	case reflect.TypeFor[[]byte]():
		return map[string]any{"type": "string", "contentEncoding": "base64"}
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return map[string]any{"type": "integer", "format": "int64"}
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return map[string]any{"type": "integer", "format": "int32"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": s.of(t.Elem(), closed)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem(), closed)}
	case reflect.Struct:
		return s.structure(t, closed)
	}
	return map[string]any{}
}

func (s *Schemas) structure(t reflect.Type, closed bool) map[string]any {
	name := s.name(t)
	if name == "" {
		return s.object(t, closed)
	}
	schema, known := s.Named[name].(map[string]any)
	if !known {
		schema = map[string]any{}
		s.Named[name], s.Types[name] = schema, t
		for k, v := range s.object(t, closed) {
			schema[k] = v
		}
	} else if closed {
		schema["additionalProperties"] = false
	}
	return map[string]any{"$ref": s.ref + name}
}

// name returns the name of a struct: that of the Go type, List[Event] becoming ListOfEvent. Two types with one name
// get their package's name in front.
func (s *Schemas) name(t reflect.Type) string {
	name := t.Name()
	if head, arg, generic := strings.Cut(name, "["); generic {
		arg = strings.TrimSuffix(arg, "]")
		name = head + "Of" + arg[strings.LastIndexByte(arg, '.')+1:]
	}
	if other, taken := s.Types[name]; taken && other != t {
		pkg := t.PkgPath()
		name = pkg[strings.LastIndexByte(pkg, '/')+1:] + "." + name
	}
	return name
}

func (s *Schemas) object(t reflect.Type, closed bool) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range Fields(t) {
		if f.In != Body {
			continue
		}
		schema := s.of(f.Type, closed)
		if s.Annotate != nil {
			s.Annotate(f, schema)
		}
		properties[f.Key] = schema
		if f.Required {
			required = append(required, f.Key)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	if closed {
		schema["additionalProperties"] = false
	}
	return schema
}
