// Package settings makes values that an operator can change while the system runs.
//
// A setting is declared once, as an immutable package-level value with a default, a check and a line of documentation:
//
//	var HoldTTL = settings.Duration("ticketing.hold_ttl", 10*time.Minute,
//		"How long an unpaid order keeps its seats.", settings.Between(time.Second, 24*time.Hour))
//
// Its value lives as text in the JetStream key-value bucket "config" and is read with HoldTTL.Get(live), which costs a
// map lookup. A change of the key, by `nats kv put config ticketing.hold_ttl 5m` too, reaches every process within
// a second. Text that does not pass the check changes nothing: the last good value stays.
//
// Below the layer of such values is a base with the same keys after "base.", for what several environments have in
// common: a key that the environment does not set has the value of the base, and without one its default.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bucket is the key-value bucket that holds the settings.
const Bucket = "config"

// maxText is how many bytes the text of a value may have.
const maxText = 1024

// Kind is the type of a setting as documentation shows it.
type Kind string

// The kinds.
const (
	KindDuration Kind = "duration"
	KindInt      Kind = "int"
	KindBool     Kind = "bool"
	KindString   Kind = "string"
	KindEnum     Kind = "enum"
)

// Spec is what there is to know about a setting without its type.
type Spec struct {
	Key     string   `json:"key"`
	Kind    Kind     `json:"kind"`
	Default string   `json:"default"` // as text
	Doc     string   `json:"doc"`
	Bounds  string   `json:"bounds,omitempty"`  // for people: "1s to 24h"
	Options []string `json:"options,omitempty"` // of an enum
	Access  Access   `json:"access"`
}

// Definition is a setting of any type.
type Definition interface {
	// Spec describes the setting.
	Spec() Spec
	// Check says whether text would be accepted, with an error made for the person who wrote it.
	Check(text string) error

	parseAny(text string) (any, error)
	formatAny(v any) string
	defaultAny() any
}

// Setting is a setting of type T. It never changes; its value lives in a Live.
type Setting[T comparable] struct {
	spec   Spec
	def    T
	parse  func(string) (T, error)
	format func(T) string
}

// Spec describes the setting.
func (s *Setting[T]) Spec() Spec {
	spec := s.spec
	spec.Options = slices.Clone(spec.Options)
	return spec
}

// ForAdmins returns the setting as one that administrators alone may change.
func (s *Setting[T]) ForAdmins() *Setting[T] {
	guarded := *s
	guarded.spec.Access = Admins
	return &guarded
}

// Key returns the key in the bucket.
func (s *Setting[T]) Key() string { return s.spec.Key }

// Default returns the value that holds when the bucket has none in any layer.
func (s *Setting[T]) Default() T { return s.def }

// Check says whether text would be accepted.
func (s *Setting[T]) Check(text string) error {
	_, err := s.Parse(text)
	return err
}

// Parse reads and checks a value. White space around it does not count.
func (s *Setting[T]) Parse(text string) (T, error) {
	var zero T
	if len(text) > maxText {
		return zero, fmt.Errorf("longer than %d bytes", maxText)
	}
	return s.parse(strings.TrimSpace(text))
}

// Get returns the value in force. It takes no lock and allocates nothing. A nil Live, or one that was opened without
// this setting, gives the default.
func (s *Setting[T]) Get(l *Live) T {
	if l == nil {
		return s.def
	}
	c, ok := l.cells[s.spec.Key]
	if !ok {
		return s.def
	}
	v, ok := c.value.Load().(T)
	if !ok {
		return s.def
	}
	return v
}

// Is fixes the setting to v, for Fixed. The bounds do not count: a test may want a hold of ten milliseconds.
func (s *Setting[T]) Is(v T) Override { return Override{def: s, value: v} }

func (s *Setting[T]) parseAny(text string) (any, error) { return s.Parse(text) }
func (s *Setting[T]) formatAny(v any) string            { return s.format(v.(T)) }
func (s *Setting[T]) defaultAny() any                   { return s.def }

// Bound limits a setting to an interval, both ends included.
type Bound[T cmp.Ordered] struct{ low, high T }

// Between makes a Bound.
func Between[T cmp.Ordered](low, high T) Bound[T] { return Bound[T]{low, high} }

// Duration declares a setting whose text is a Go duration such as 90s, 10m or 1h30m.
func Duration(key string, def time.Duration, doc string, bounds ...Bound[time.Duration]) *Setting[time.Duration] {
	parse := func(text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%s is not a duration such as 90s, 10m or 1h30m", strconv.Quote(text))
		}
		return d, nil
	}
	return ordered(Spec{Key: key, Kind: KindDuration, Doc: doc}, def, parse, formatDuration, bounds)
}

// Int declares a setting that is a whole number.
func Int(key string, def int, doc string, bounds ...Bound[int]) *Setting[int] {
	parse := func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0, fmt.Errorf("%s is not a whole number", strconv.Quote(text))
		}
		return n, nil
	}
	return ordered(Spec{Key: key, Kind: KindInt, Doc: doc}, def, parse, strconv.Itoa, bounds)
}

// Bool declares a setting that is true or false.
func Bool(key string, def bool, doc string) *Setting[bool] {
	parse := func(text string) (bool, error) {
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, fmt.Errorf("%s is neither true nor false", strconv.Quote(text))
	}
	return declare(Spec{Key: key, Kind: KindBool, Doc: doc, Bounds: "true or false"}, def, parse, strconv.FormatBool)
}

// String declares a setting that is one line of text of at most max bytes. The empty text is allowed.
func String(key, def, doc string, max int) *Setting[string] {
	return CheckedString(key, def, doc, max, func(string) error { return nil })
}

// CheckedString declares a String that has to pass a check of its own.
func CheckedString(key, def, doc string, max int, check func(string) error) *Setting[string] {
	parse := func(text string) (string, error) {
		if len(text) > max {
			return "", fmt.Errorf("longer than %d bytes", max)
		}
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return "", errors.New("not one line of plain text")
		}
		return text, check(text)
	}
	spec := Spec{Key: key, Kind: KindString, Doc: doc, Bounds: fmt.Sprintf("at most %d bytes", max)}
	return declare(spec, def, parse, func(s string) string { return s })
}

// Level declares a setting that is a log level: debug, info, warn or error.
func Level(key string, def slog.Level, doc string) *Setting[slog.Level] {
	options := []string{"debug", "info", "warn", "error"}
	parse := func(text string) (slog.Level, error) {
		var level slog.Level
		if !slices.Contains(options, text) {
			return 0, fmt.Errorf("%s is none of %s", strconv.Quote(text), strings.Join(options, ", "))
		}
		err := level.UnmarshalText([]byte(text))
		return level, err
	}
	spec := Spec{Key: key, Kind: KindEnum, Doc: doc, Bounds: "one of " + strings.Join(options, ", "), Options: options}
	return declare(spec, def, parse, func(l slog.Level) string { return strings.ToLower(l.String()) })
}

func ordered[T cmp.Ordered](
	spec Spec, def T, parse func(string) (T, error), format func(T) string, bounds []Bound[T],
) *Setting[T] {
	if len(bounds) > 1 {
		panic(fmt.Sprintf("settings: %s has more than one interval", spec.Key))
	}
	if len(bounds) == 0 {
		return declare(spec, def, parse, format)
	}
	b := bounds[0]
	spec.Bounds = format(b.low) + " to " + format(b.high)
	bounded := func(text string) (T, error) {
		v, err := parse(text)
		if err != nil {
			return v, err
		}
		if v < b.low || v > b.high {
			return v, fmt.Errorf("%s is not within %s", format(v), spec.Bounds)
		}
		return v, nil
	}
	return declare(spec, def, bounded, format)
}

// keyPattern allows what is safe as a key of the bucket and in a URL.
var keyPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$`)

// declare panics on a declaration that contradicts itself: every start of the program, and every test, finds it.
func declare[T comparable](spec Spec, def T, parse func(string) (T, error), format func(T) string) *Setting[T] {
	_, inBase := CutBase(spec.Key)
	if !keyPattern.MatchString(spec.Key) || inBase || spec.Doc == "" {
		panic(fmt.Sprintf("settings: bad declaration of %q", spec.Key))
	}
	spec.Default, spec.Access = format(def), Operators
	if back, err := parse(spec.Default); err != nil || back != def {
		panic(fmt.Sprintf("settings: the default %s of %s does not pass its own check: %v", spec.Default, spec.Key,
			err))
	}
	return &Setting[T]{spec: spec, def: def, parse: parse, format: format}
}

// formatDuration is Duration.String without the zero minutes and seconds at its end: 10m, not 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
