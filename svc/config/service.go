// Package config lets administrators read and change the live settings.
//
// The settings are the keys of the KV bucket "config"; every process follows them by itself (shared/settings). This
// service adds what a bucket has not: documentation, checks before a value is written, history and rollback over REST.
package config

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// Bucket is the KV bucket of the settings.
const Bucket = "config"

// Deps is what the service stands on.
type Deps struct {
	JS  jetstream.JetStream
	Log *slog.Logger
}

// Service is one instance of the config service.
type Service struct {
	kv   jetstream.KeyValue
	log  *slog.Logger
	defs []settings.Definition
}

// New returns the service. The bucket must exist.
func New(ctx context.Context, d Deps) (*Service, error) {
	kv, err := d.JS.KeyValue(ctx, Bucket)
	if err != nil {
		return nil, err
	}
	return &Service{kv: kv, log: d.Log, defs: api.Settings()}, nil
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ListSettings, s.list)
	rpc.Handle(srv, api.GetSetting, s.get)
	rpc.Handle(srv, api.PutSetting, s.put)
	rpc.Handle(srv, api.DeleteSetting, s.delete)
	rpc.Handle(srv, api.GetSettingHistory, s.history)
	rpc.Handle(srv, api.RollbackToSetting, s.rollback)
}

// Run waits for the end: the service does nothing by itself.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// definition finds a setting. Only keys that are declared ever reach the bucket.
func (s *Service) definition(key string) (settings.Definition, error) {
	i := slices.IndexFunc(s.defs, func(d settings.Definition) bool { return d.Spec().Key == key })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "there is no such setting")
	}
	return s.defs[i], nil
}

// entries returns the history of a key, newest first.
func (s *Service) entries(ctx context.Context, key string) ([]jetstream.KeyValueEntry, error) {
	entries, err := s.kv.History(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	slices.Reverse(entries)
	return entries, nil
}

func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the settings cannot be reached")
}

func isPut(e jetstream.KeyValueEntry) bool { return e.Operation() == jetstream.KeyValuePut }

// setting tells what holds of a setting: the newest acceptable value, as every process decides it too.
func (s *Service) setting(ctx context.Context, def settings.Definition) (api.Setting, error) {
	spec := def.Spec()
	out := api.Setting{Key: spec.Key, Kind: string(spec.Kind), Doc: spec.Doc, Bounds: spec.Bounds, Default: spec.Default, Value: spec.Default}
	if out.Bounds == "" {
		out.Bounds = strings.Join(spec.Options, ", ")
	}
	entries, err := s.entries(ctx, spec.Key)
	if err != nil || len(entries) == 0 {
		return out, err
	}
	at := entries[0].Created().UTC()
	out.Revision, out.UpdatedAt = entries[0].Revision(), &at
	for _, e := range entries {
		if !isPut(e) {
			return out, nil
		}
		if def.Check(string(e.Value())) == nil {
			out.Value, out.IsSet = strings.TrimSpace(string(e.Value())), true
			return out, nil
		}
	}
	return out, nil
}

func (s *Service) list(ctx context.Context, _ *rpc.None) (*api.List[api.Setting], error) {
	out := &api.List[api.Setting]{Items: make([]api.Setting, 0, len(s.defs))}
	for _, def := range s.defs {
		one, err := s.setting(ctx, def)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, one)
	}
	return out, nil
}

func (s *Service) get(ctx context.Context, req *api.SettingRef) (*api.Setting, error) {
	def, err := s.definition(req.Key)
	if err != nil {
		return nil, err
	}
	one, err := s.setting(ctx, def)
	return &one, err
}

func (s *Service) put(ctx context.Context, req *api.SetSetting) (*api.Setting, error) {
	def, err := s.definition(req.Key)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, def, req.Value)
}

// write checks a value and stores it.
func (s *Service) write(ctx context.Context, def settings.Definition, value string) (*api.Setting, error) {
	if err := def.Check(value); err != nil {
		var check fault.Check
		check.Field(false, "value", "%v", err)
		return nil, check.Err()
	}
	key := def.Spec().Key
	revision, err := s.kv.PutString(ctx, key, value)
	if err != nil {
		return nil, unavailable(err)
	}
	s.log.InfoContext(ctx, "setting written", "setting", key, "value", value, "revision", revision, "by", rpc.Caller(ctx).User)
	one, err := s.setting(ctx, def)
	return &one, err
}

func (s *Service) delete(ctx context.Context, req *api.SettingRef) (*rpc.None, error) {
	def, err := s.definition(req.Key)
	if err != nil {
		return nil, err
	}
	return nil, s.reset(ctx, def)
}

// reset returns a setting to its default.
func (s *Service) reset(ctx context.Context, def settings.Definition) error {
	key := def.Spec().Key
	if err := s.kv.Delete(ctx, key); err != nil {
		return unavailable(err)
	}
	s.log.InfoContext(ctx, "setting returned to its default", "setting", key, "by", rpc.Caller(ctx).User)
	return nil
}

func (s *Service) history(ctx context.Context, req *api.SettingRef) (*api.List[api.SettingChange], error) {
	def, err := s.definition(req.Key)
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(ctx, req.Key)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.SettingChange]{Items: make([]api.SettingChange, 0, len(entries))}
	for _, e := range entries {
		change := api.SettingChange{Revision: e.Revision(), Value: string(e.Value()), Deleted: !isPut(e), At: e.Created().UTC()}
		change.Valid = change.Deleted || def.Check(change.Value) == nil
		out.Items = append(out.Items, change)
	}
	return out, nil
}

// rollback writes an earlier value again. Revision 0 means what was in force before the newest entry.
func (s *Service) rollback(ctx context.Context, req *api.RollbackSetting) (*api.Setting, error) {
	def, err := s.definition(req.Key)
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(ctx, req.Key)
	if err != nil {
		return nil, err
	}
	target, found := earlier(entries, req.Revision, def)
	switch {
	case !found && req.Revision != 0:
		return nil, fault.New(fault.NotFound, "the history of %s has no revision %d", req.Key, req.Revision)
	case !found && len(entries) == 0:
		return nil, fault.New(fault.Conflict, "%s was never set", req.Key)
	case !found || !isPut(target): // before the first value there was the default
		if err := s.reset(ctx, def); err != nil {
			return nil, err
		}
		one, err := s.setting(ctx, def)
		return &one, err
	}
	return s.write(ctx, def, string(target.Value()))
}

// earlier finds the entry to return to, in a history with the newest first.
func earlier(entries []jetstream.KeyValueEntry, revision uint64, def settings.Definition) (jetstream.KeyValueEntry, bool) {
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
