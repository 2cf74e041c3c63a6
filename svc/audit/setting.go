package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
)

// setting is what a line says of one.
type setting struct {
	Value *string `json:"value,omitempty"` // nil: the default holds
}

// followSettings puts a line into the chain for each value in the bucket of settings, whoever wrote it, until ctx ends.
// It begins with the history that the bucket has, of which most have their line already.
func (s *Service) followSettings(ctx context.Context) error {
	retry := run.Backoff{First: 100 * time.Millisecond, Last: 10 * time.Second}
	outage := observe.NewOutage(s.Log, "audit log: settings cannot be followed",
		"audit log: settings are followed again", nil)
	for ctx.Err() == nil {
		err := s.watchSettings(ctx, func() { retry.Reset(); outage.Report(ctx, nil) })
		if ctx.Err() != nil {
			break
		}
		outage.Report(ctx, err)
		retry.Wait(ctx)
	}
	return nil
}

// watchSettings follows the bucket until something fails. It calls good after each value.
func (s *Service) watchSettings(ctx context.Context, good func()) error {
	kv, err := s.JS.KeyValue(ctx, settings.Bucket)
	if err != nil {
		return err
	}
	claims, err := auditlog.OpenClaims(ctx, s.JS)
	if err != nil {
		return err
	}
	watcher, err := kv.WatchAll(ctx, jetstream.IncludeHistory())
	if err != nil {
		return err
	}
	defer watcher.Stop() // of no interest: it ends with ctx anyway
	before := map[string]setting{}
	for {
		select {
		case e, ok := <-watcher.Updates():
			if !ok {
				return errors.New("the watch ended")
			}
			if e == nil { // all of the history was there
				continue
			}
			after := settingOf(e)
			if err := s.addSetting(ctx, claims, e, before[e.Key()], after); err != nil {
				return err
			}
			before[e.Key()] = after
			good()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settingOf reads a value of the bucket.
func settingOf(e jetstream.KeyValueEntry) setting {
	if e.Operation() != jetstream.KeyValuePut {
		return setting{}
	}
	value := string(e.Value())
	return setting{Value: &value}
}

// addSetting puts the line of a value into the chain. Its id is that of the revision, so that it is there once.
func (s *Service) addSetting(
	ctx context.Context, claims auditlog.Claims, e jetstream.KeyValueEntry, before, after setting,
) error {
	if e.Created().Before(s.Now().Add(-api.AuditRetention.Get(s.Live))) {
		return nil // it was deleted
	}
	act := auditlog.Act{Act: "config.put", Object: e.Key(), At: e.Created(), Before: before, After: after,
		By: &api.AuditAuthor{Service: auditlog.ByTool}}
	if after.Value == nil {
		act.Act = "config.delete"
	}
	line, err := auditlog.NewLine(ctx, auditlog.ByTool, act)
	if err != nil {
		return err
	}
	line.ID = ids.Derive[ids.AuditKind](api.ConfigStream, strconv.FormatUint(e.Revision(), 10),
		e.Created().UTC().Format(time.RFC3339Nano))
	there, err := s.log.has(ctx, line.ID)
	if err != nil || there {
		return err
	}
	claim, err := claims.Of(ctx, e)
	if err != nil {
		return err
	}
	if claim != nil && claim.By != (api.AuditAuthor{}) {
		line.By, line.Act = claim.By, claim.Act
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	r, err := newRow(data)
	if err != nil {
		return err
	}
	return s.log.append(ctx, r)
}

// deleteOld deletes lines after audit.retention. The chain goes on, and says what was deleted.
func (s *Service) deleteOld(ctx context.Context) error {
	before := s.Now().Add(-api.AuditRetention.Get(s.Live))
	for {
		n, err := s.log.deleteBefore(ctx, before, func(first, last row) (row, error) {
			line, err := auditlog.NewLine(ctx, "audit", auditlog.Act{Act: "audit.expire", At: s.Now(),
				Object: fmt.Sprintf("%d-%d", first.Number, last.Number),
				By:     &api.AuditAuthor{Service: "audit"},
				Before: map[string]any{"until": last.At.UTC(), "hash": last.Hash}})
			if err != nil {
				return row{}, err
			}
			data, err := json.Marshal(line)
			if err != nil {
				return row{}, err
			}
			return newRow(data)
		})
		if err != nil || n == 0 {
			return store.FaultOf(ctx, err)
		}
	}
}
