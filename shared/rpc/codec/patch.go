package codec

import (
	"encoding/json"
	"reflect"
)

// Patch is a member of a PATCH request that can be cleared: absent leaves a value as it is, null clears it, and
// anything else takes its place. Its tag has omitzero. Members of a PATCH that are no Patch cannot be null.
type Patch[T any] struct {
	Given bool
	Value *T // nil clears
}

// To returns a Patch that puts v in place.
func To[T any](v T) Patch[T] { return Patch[T]{Given: true, Value: &v} }

// Clear returns a Patch that clears.
func Clear[T any]() Patch[T] { return Patch[T]{Given: true} }

// Apply changes a value for which its zero is the same as none.
func (p Patch[T]) Apply(to *T) {
	if !p.Given {
		return
	}
	var none T
	if p.Value != nil {
		none = *p.Value
	}
	*to = none
}

// ApplyTo changes a value for which nil is none.
func (p Patch[T]) ApplyTo(to **T) {
	if p.Given {
		*to = p.Value
	}
}

// IsZero reports whether the member is absent, for omitzero.
func (p Patch[T]) IsZero() bool { return !p.Given }

// UnmarshalJSON implements json.Unmarshaler.
func (p *Patch[T]) UnmarshalJSON(b []byte) error {
	p.Given, p.Value = true, nil
	return json.Unmarshal(b, &p.Value)
}

// MarshalJSON implements json.Marshaler.
func (p Patch[T]) MarshalJSON() ([]byte, error) { return json.Marshal(p.Value) }

func (Patch[T]) patched() reflect.Type { return reflect.TypeFor[T]() }

// patchedType returns the T of a Patch[T], or nil.
func patchedType(t reflect.Type) reflect.Type {
	if p, ok := reflect.Zero(t).Interface().(interface{ patched() reflect.Type }); ok {
		return p.patched()
	}
	return nil
}
