package config

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// Values reads and changes the settings in their bucket. The service and the command line do it alike. Errors are
// faults: NotFound for a key that is not declared, Invalid for a value that its definition refuses, Conflict when
// another writer was faster, Unavailable when the bucket cannot be reached.
type Values struct {
	js   jetstream.JetStream
	kv   jetstream.KeyValue
	defs []settings.Definition
	// claim says beforehand, for the audit log, who writes a value, nil to take it out; nil: the writer is not known
	claim func(ctx context.Context, key string, value *string) (ids.Audit, error)
}

// Open returns the values of a system. The bucket must exist.
func Open(ctx context.Context, js jetstream.JetStream) (*Values, error) {
	kv, err := js.KeyValue(ctx, Bucket)
	if err != nil {
		return nil, unavailable(err)
	}
	return &Values{js: js, kv: kv, defs: api.Settings()}, nil
}

func unavailable(err error) error {
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == wrongLastSequence {
		return fault.Wrap(err, fault.Conflict, "it has just been changed by another writer")
	}
	return fault.Wrap(err, fault.Unavailable, "the settings cannot be reached")
}

// entries returns the history of keys, newest first.
func (v *Values) entries(ctx context.Context, keys ...string) (map[string][]jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// a clone: the client writes into the slice
	watcher, err := v.kv.WatchFiltered(ctx, slices.Clone(keys), jetstream.IncludeHistory())
	if err != nil {
		return nil, unavailable(err)
	}
	defer watcher.Stop() // of no interest: it ends with ctx anyway
	out := make(map[string][]jetstream.KeyValueEntry)
	for {
		select {
		case e, ok := <-watcher.Updates():
			if !ok {
				return nil, unavailable(errors.New("the watch ended"))
			}
			if e != nil {
				out[e.Key()] = append(out[e.Key()], e)
				continue
			}
			for _, list := range out {
				slices.Reverse(list)
			}
			return out, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func isPut(e jetstream.KeyValueEntry) bool { return e.Operation() == jetstream.KeyValuePut }

// List returns every setting in the order of documentation.
func (v *Values) List(ctx context.Context) ([]api.Setting, error) {
	places := make([]place, 0, len(v.defs))
	var keys []string
	for _, def := range v.defs {
		p := place{Definition: def, key: def.Spec().Key}
		places, keys = append(places, p), append(keys, p.keys()...)
	}
	entries, err := v.entries(ctx, keys...)
	if err != nil {
		return nil, err
	}
	out := make([]api.Setting, 0, len(places))
	for _, p := range places {
		out = append(out, p.describe(entries))
	}
	return out, nil
}

// Get returns a setting.
func (v *Values) Get(ctx context.Context, key string) (api.Setting, error) {
	p, err := v.place(key)
	if err != nil {
		return api.Setting{}, err
	}
	entries, err := v.entries(ctx, p.keys()...)
	return p.describe(entries), err
}

// refuse returns the fault of a value that a setting does not take.
func refuse(def settings.Definition, value string) error {
	var check fault.Check
	if err := def.Check(value); err != nil {
		check.Field(false, "value", "%v", err)
	}
	return check.Err()
}

// accept finds a setting and refuses what it does not take, or what another setting does not allow.
func (v *Values) accept(ctx context.Context, key, value string) (place, error) {
	p, err := v.place(key)
	if err != nil {
		return p, err
	}
	if err := refuse(p, value); err != nil {
		return p, err
	}
	if p.Spec().Key != api.MeshFaults.Key() || strings.TrimSpace(value) == "" {
		return p, nil
	}
	allowed, err := v.Get(ctx, api.MeshFaultsAllowed.Key())
	if err == nil && allowed.Value != "true" {
		err = fault.New(fault.Conflict, "%s must be true first", api.MeshFaultsAllowed.Key())
	}
	return p, err
}

// Check returns what a setting would be with a value, and changes nothing.
func (v *Values) Check(ctx context.Context, key, value string) (api.Setting, error) {
	p, err := v.accept(ctx, key, value)
	if err != nil {
		return api.Setting{}, err
	}
	one, err := v.Get(ctx, key)
	one.Value, one.IsSet, one.Source = strings.TrimSpace(value), true, string(settings.FromEnvironment)
	if p.inBase {
		one.Source = string(settings.FromBase)
	}
	return one, err
}

// Put changes a setting.
func (v *Values) Put(ctx context.Context, key, value string) (api.Setting, error) {
	p, err := v.accept(ctx, key, value)
	if err != nil {
		return api.Setting{}, err
	}
	revision, err := v.write(ctx, key, &value)
	if err != nil {
		return api.Setting{}, unavailable(err)
	}
	return v.written(ctx, p, revision)
}

// write stores a value, or takes it out for nil, as the bucket's own client does, and returns its revision. What was
// claimed for it travels along.
func (v *Values) write(ctx context.Context, key string, value *string, opts ...jetstream.PublishOpt) (uint64, error) {
	m := nats.NewMsg(api.SettingSubject(key))
	if value == nil {
		m.Header.Set("KV-Operation", "DEL")
	} else {
		m.Data = []byte(*value)
	}
	if v.claim != nil {
		claim, err := v.claim(ctx, key, value)
		if err != nil {
			return 0, err
		}
		m.Header.Set(api.HeaderAuditClaim, claim.String())
	}
	ack, err := v.js.PublishMsg(ctx, m, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// wrongLastSequence is the code of a value that another writer has changed.
const wrongLastSequence jetstream.ErrorCode = 10071

// written returns a setting right after a value was stored. It asks for that very revision, because a replica that is
// behind may not show it yet.
func (v *Values) written(ctx context.Context, p place, revision uint64) (api.Setting, error) {
	e, err := v.kv.GetRevision(ctx, p.key, revision)
	if err != nil {
		return api.Setting{}, unavailable(err)
	}
	entries := make(map[string][]jetstream.KeyValueEntry)
	if !p.inBase {
		if entries, err = v.entries(ctx, settings.BaseKey(p.key)); err != nil {
			return api.Setting{}, err
		}
	}
	entries[p.key] = []jetstream.KeyValueEntry{e}
	return p.describe(entries), nil
}

// Reset takes a setting out of its layer: it has the value of the base again, or its default.
func (v *Values) Reset(ctx context.Context, key string) error {
	if _, err := v.place(key); err != nil {
		return err
	}
	if _, err := v.write(ctx, key, nil); err != nil {
		return unavailable(err)
	}
	return nil
}

// History returns what was stored for a setting, newest first: values, refused ones too, and deletions.
// Each says who wrote it.
func (v *Values) History(ctx context.Context, key string) ([]api.SettingChange, error) {
	p, err := v.place(key)
	if err != nil {
		return nil, err
	}
	entries, err := v.entries(ctx, key)
	if err != nil {
		return nil, err
	}
	authors, err := v.authors(ctx, entries[key])
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]api.SettingChange, 0, len(entries[key]))
	for _, e := range entries[key] {
		change := api.SettingChange{Revision: e.Revision(), Value: string(e.Value()), Deleted: !isPut(e),
			At: e.Created().UTC(), By: authors[e.Revision()]}
		change.Valid = change.Deleted || p.Check(change.Value) == nil
		out = append(out, change)
	}
	return out, nil
}

// authors returns who wrote the entries of a history with the newest first, by revision. A claim counts once, for the
// value that came first: one that a tool has stored again, header and all, is the tool's.
func (v *Values) authors(ctx context.Context, entries []jetstream.KeyValueEntry) (map[uint64]api.AuditAuthor, error) {
	claims, err := auditlog.OpenClaims(ctx, v.js)
	if err != nil {
		return nil, err
	}
	out, used := make(map[uint64]api.AuditAuthor, len(entries)), make(map[ids.Audit]bool)
	for _, e := range slices.Backward(entries) {
		claim, err := claims.Of(ctx, e)
		if err != nil {
			return nil, err
		}
		if claim == nil || used[claim.ID] {
			out[e.Revision()] = api.AuditAuthor{Service: auditlog.ByTool}
			continue
		}
		out[e.Revision()], used[claim.ID] = claim.By, true
	}
	return out, nil
}

// Rollback returns a setting to an entry of its history: to the value, or out of its layer if the entry is a deletion.
// Revision 0 means what was in force before the newest entry. It fails with Conflict if the setting changes meanwhile:
// what was looked at is no longer what would be replaced.
func (v *Values) Rollback(ctx context.Context, key string, revision uint64) (api.Setting, error) {
	p, err := v.place(key)
	if err != nil {
		return api.Setting{}, err
	}
	all, err := v.entries(ctx, key)
	if err != nil {
		return api.Setting{}, err
	}
	entries := all[key]
	target, found := earlier(entries, revision, p)
	switch {
	case !found && revision != 0:
		return api.Setting{}, fault.New(fault.NotFound, "its history has no revision %d", revision)
	case len(entries) == 0:
		return api.Setting{}, fault.New(fault.Conflict, "it was never set")
	}
	newest := entries[0].Revision()
	if !found || !isPut(target) { // before the first value there was none
		if _, err := v.write(ctx, key, nil, jetstream.WithExpectLastSequencePerSubject(newest)); err != nil {
			return api.Setting{}, unavailable(err)
		}
		return v.Get(ctx, key)
	}
	if err := p.Check(string(target.Value())); err != nil {
		var check fault.Check
		check.Field(false, "revision", "its value was refused: %v", err)
		return api.Setting{}, check.Err()
	}
	value := string(target.Value())
	written, err := v.write(ctx, key, &value, jetstream.WithExpectLastSequencePerSubject(newest))
	if err != nil {
		return api.Setting{}, unavailable(err)
	}
	return v.written(ctx, p, written)
}

// earlier finds the entry to return to, in a history with the newest first.
func earlier(
	entries []jetstream.KeyValueEntry, revision uint64, def settings.Definition,
) (jetstream.KeyValueEntry, bool) {
	for i, e := range entries {
		if revision != 0 && e.Revision() == revision {
			return e, true
		}
		if revision == 0 && i > 0 && (!isPut(e) || def.Check(string(e.Value())) == nil) {
			return e, true
		}
	}
	return nil, false
}
