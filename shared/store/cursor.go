package store

import (
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// The size of a page.
const (
	defaultLimit = 50
	maxLimit     = 200
)

// Limit returns the number of items of a page: 50 if n is 0, and a fault of code Invalid unless it is 1 to 200.
func Limit(n int) (int, error) {
	switch {
	case n == 0:
		return defaultLimit, nil
	case n < 0 || n > maxLimit:
		var check fault.Check
		check.Field(false, "limit", "must be 1 to %d", maxLimit)
		return 0, check.Err()
	}
	return n, nil
}

// cursorSeparator cannot be part of a key: ids and times do not contain it.
const cursorSeparator = "\x1f"

// EncodeCursor returns the opaque text that stands for the sort key of a page's last item.
func EncodeCursor(key ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(key, cursorSeparator)))
}

// DecodeCursor returns the n parts of the sort key that a cursor stands for, or nil for the empty cursor. Text that
// EncodeCursor did not make is a fault of code Invalid. Whether the parts make sense is the caller's question.
func DecodeCursor(s string, n int) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	var check fault.Check
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	key := strings.Split(string(raw), cursorSeparator)
	check.Field(err == nil && len(s) <= 512 && len(key) == n && utf8.Valid(raw), "cursor",
		"is not one that a list returned")
	if err := check.Err(); err != nil {
		return nil, err
	}
	return key, nil
}

// DecodeIDCursor returns the id of the last item of the page before, in a list that is sorted by ids. The empty cursor
// is no id and no error.
func DecodeIDCursor[K ids.Kind](s string) (ids.ID[K], error) {
	key, err := DecodeCursor(s, 1)
	if key == nil || err != nil {
		return "", err
	}
	id, err := ids.Parse[K](key[0])
	var check fault.Check
	check.Field(err == nil, "cursor", "is not one that a list returned")
	return id, check.Err()
}

// EncodeTimeCursor returns the cursor of a list that is sorted by a time and an id.
func EncodeTimeCursor(at time.Time, id string) string {
	return EncodeCursor(at.UTC().Format(time.RFC3339Nano), id)
}

// DecodeTimeCursor returns what EncodeTimeCursor was given. The empty cursor is the zero time, no id and no error.
func DecodeTimeCursor(s string) (at time.Time, id string, err error) {
	key, err := DecodeCursor(s, 2)
	if err != nil || key == nil {
		return time.Time{}, "", err
	}
	if at, err = time.Parse(time.RFC3339Nano, key[0]); err != nil {
		var check fault.Check
		check.Field(false, "cursor", "is not one that a list returned")
		return time.Time{}, "", check.Err()
	}
	return at, key[1], nil
}
