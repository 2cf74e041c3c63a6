package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/store"
)

// logs answers what the processes have logged.
func (s *Service) logs(ctx context.Context, q *api.LogQuery) (*api.List[api.LogLine], error) {
	limit, err := store.Limit(q.Limit)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	since := s.now().Add(-time.Hour)
	if q.From != "" {
		since, err = time.Parse(time.RFC3339, strings.ToUpper(q.From))
		check.Field(err == nil, "from", "must be a time like 2026-01-31T18:00:00Z")
	}
	check.Field(q.Level == "" || slices.Contains(observe.Levels(), q.Level), "level", "must be one of %s",
		strings.Join(observe.Levels(), ", "))
	check.Field(observe.IsService(q.Service), "service", "must be one word")
	if err := check.Err(); err != nil {
		return nil, err
	}
	var before uint64
	key, err := store.DecodeCursor(q.Cursor, 1)
	if err == nil && key != nil {
		if before, err = strconv.ParseUint(key[0], 10, 64); err != nil {
			err = fault.New(fault.Invalid, "the cursor is not one that a list returned")
		}
	}
	if err != nil {
		return nil, err
	}
	found, next, err := observe.Back(ctx, s.js,
		observe.TailOptions{Service: q.Service, Level: q.Level, Request: q.Request, Since: since}, before, limit)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the logs cannot be read")
	}
	out := &api.List[api.LogLine]{Items: []api.LogLine{}}
	if next > 0 {
		out.NextCursor = store.EncodeCursor(strconv.FormatUint(next, 10))
	}
	for _, e := range found {
		out.Items = append(out.Items, logLine(e))
	}
	return out, nil
}

// logLine is an entry as the API has it. What was no JSON is its message.
func logLine(e observe.Entry) api.LogLine {
	l := api.LogLine{At: e.Time.UTC(), Level: cmp.Or(e.Level, "info"), Service: e.Service, Instance: e.Instance,
		Message: e.Message, RequestID: e.RequestID}
	if e.Attrs == nil {
		l.Message = strings.ToValidUTF8(string(e.Line), "?")
		return l
	}
	for name, value := range e.Attrs {
		text, err := json.Marshal(value)
		if err != nil {
			continue // it came from JSON
		}
		if l.Attributes == nil {
			l.Attributes = map[string]json.RawMessage{}
		}
		l.Attributes[name] = text
	}
	return l
}
