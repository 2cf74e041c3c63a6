package notification

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/locale"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

func (s *Service) listTemplates(context.Context, *rpc.None) (*api.List[api.Template], error) {
	list := &api.List[api.Template]{}
	var languages []string
	for _, tag := range locale.Languages() {
		languages = append(languages, tag.String())
	}
	for _, t := range render.Templates() {
		list.Items = append(list.Items, api.Template{Name: t.Name, Kind: t.Kind,
			Transactional: render.IsTransactional(t.Kind), Languages: languages})
	}
	return list, nil
}

// preview fills a message with an example.
func (s *Service) preview(_ context.Context, req *api.PreviewOf) (*api.Preview, error) {
	t, ok := s.texts.Template(req.Name)
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no such template")
	}
	if req.Language == "" {
		req.Language = locale.Languages()[0].String()
	}
	var check fault.Check
	check.Field(locale.Is(req.Language), "language", "must be one that the list of templates names")
	if err := check.Err(); err != nil {
		return nil, err
	}
	return s.texts.Example(t, req.Language, s.PublicURL)
}

const maxPayloadShown = 4 << 10 // bytes

// listDead returns dead letters of all consumers.
func (s *Service) listDead(ctx context.Context, req *api.Page) (*api.List[api.DeadLetter], error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	key, err := store.DecodeCursor(req.Cursor, 1)
	if err != nil {
		return nil, err
	}
	var after uint64
	if key != nil {
		if after, err = strconv.ParseUint(key[0], 10, 64); err != nil {
			return nil, fault.New(fault.Invalid, "the cursor is not one that a list returned")
		}
	}
	found, err := stream.DeadLetters(ctx, s.JS, after, limit+1)
	if err != nil {
		return nil, err
	}
	list := &api.List[api.DeadLetter]{Items: []api.DeadLetter{}}
	if len(found) > limit {
		found = found[:limit]
		list.NextCursor = store.EncodeCursor(strconv.FormatUint(found[limit-1].Sequence, 10))
	}
	for _, l := range found {
		payload := string(l.Data[:min(len(l.Data), maxPayloadShown)])
		list.Items = append(list.Items, api.DeadLetter{ID: strconv.FormatUint(l.Sequence, 10), Consumer: l.Consumer,
			Stream: l.Stream, Subject: l.Subject, MessageID: l.ID, Reason: l.Reason,
			RequestID: l.Header.Get(rpc.HeaderRequestID), Payload: payload, At: l.Time.UTC()})
	}
	return list, nil
}

// replay gives a dead letter to its consumer once more.
func (s *Service) replay(ctx context.Context, req *api.DeadLetterRef) (*rpc.None, error) {
	return s.withLetter(ctx, req, stream.Replay, func(said map[string]string) auditlog.Act {
		return auditlog.Act{After: said}
	})
}

// drop gives a dead letter up.
func (s *Service) drop(ctx context.Context, req *api.DeadLetterRef) (*rpc.None, error) {
	return s.withLetter(ctx, req, stream.Drop, func(said map[string]string) auditlog.Act {
		return auditlog.Act{Before: said}
	})
}

// withLetter does something with a dead letter once it is in the audit log.
func (s *Service) withLetter(ctx context.Context, req *api.DeadLetterRef,
	do func(context.Context, jetstream.JetStream, uint64, func(stream.Letter) error) error,
	act func(said map[string]string) auditlog.Act) (*rpc.None, error) {
	sequence, err := strconv.ParseUint(req.ID, 10, 64)
	if err != nil || sequence == 0 {
		return nil, fault.New(fault.NotFound, "there is no such dead letter")
	}
	return nil, do(ctx, s.JS, sequence, func(l stream.Letter) error {
		line := act(map[string]string{"consumer": l.Consumer, "subject": l.Subject, "message": l.ID})
		line.Object = strconv.FormatUint(l.Sequence, 10)
		return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			return auditlog.Add(ctx, tx, "notification", line)
		})
	})
}
