package webhook

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rotation"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

const (
	sendTime = 10 * time.Second // of an attempt
	perHost  = 16               // connections to one host
	pageSize = 50               // facts that are read at a time
	mostRead = 4 << 10          // bytes of an answer
)

// pauses are those after the first, second … failure; the last one repeats.
func pauses() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour}
}

// pause returns how long a webhook is left alone after so many failures, give or take a tenth.
func pause(failures int) time.Duration {
	all := pauses()
	p := all[min(max(failures-1, 0), len(all)-1)]
	return p*9/10 + rand.N(p/5)
}

// dispatch hands out the webhooks that are due, as far as there are places.
func (s *Webhooks) dispatch(ctx context.Context) error {
	for _, l := range s.classes {
		for len(l.free) > 0 {
			want := min(len(l.free), 100)
			rows, err := l.claim.Take(ctx, want)
			if err != nil {
				return err
			}
			for _, r := range rows {
				<-l.free // this is the only one who takes
				s.telling.Go(func() {
					defer func() { l.free <- struct{}{} }()
					s.tell(ctx, r)
				})
			}
			if len(rows) < want {
				break
			}
		}
	}
	return nil
}

// errMoved says that a webhook is no longer as it was: changed, replayed, deleted, or claimed by another instance.
var errMoved = errors.New("webhook: it is another instance's turn")

// tell tells a claimed webhook what it was not told when it was claimed, in order, until it fails or its turn is over.
func (s *Webhooks) tell(ctx context.Context, r *row) {
	err := s.turn(ctx, r)
	if err != nil && !errors.Is(err, errMoved) {
		s.Log.WarnContext(ctx, "a webhook could not be told what happened", "webhook", r.ID, "error", err)
	}
	poke(s.wake)
}

func (s *Webhooks) turn(ctx context.Context, r *row) error {
	working := context.WithoutCancel(ctx) // an attempt under way has its time, and is written down
	began := s.Now()
	for r.Position < r.Last {
		var page []factRow
		err := s.DB.Read().NewSelect().Model(&page).Where("organizer_id = ? AND number > ? AND number <= ?",
			r.OrganizerID, r.Position, r.Last).OrderExpr("number").Limit(pageSize).Scan(working)
		if err != nil {
			return err
		}
		passed := r.Last // what is not there any more is told to nobody: its retention is over
		if len(page) == pageSize {
			passed = page[pageSize-1].Number
		}
		for _, f := range page {
			if !r.wants(f.Topic) {
				continue
			}
			if ctx.Err() != nil || s.Now().Sub(began) > turn {
				return s.advance(working, r, r.Position, nil, true)
			}
			a := s.attempt(working, r, f)
			s.count(a)
			if a.Problem != "" {
				return s.fail(working, r, a)
			}
			if err := s.advance(working, r, f.Number, a, f.Number == r.Last); err != nil {
				return err
			}
		}
		if passed > r.Position {
			if err := s.advance(working, r, passed, nil, passed == r.Last); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *row) wants(topic string) bool {
	return r.Topics == "" || slices.Contains(strings.Fields(r.Topics), topic)
}

func (s *Webhooks) count(a *attemptRow) {
	outcome := "taken"
	if a.Problem != "" {
		outcome = "failed"
	}
	s.Metrics.Counter("starlight_notification_webhook_attempts_total", "Attempts to tell a webhook something.",
		"outcome", outcome).Inc()
}

// advance moves a webhook to a position after what it took, or gives it back: then it is due at once if more waits.
func (s *Webhooks) advance(ctx context.Context, r *row, position int64, a *attemptRow, done bool) error {
	next := store.Time(s.Now())
	if !done {
		next = store.Time(next.Add(lease))
	}
	slow := r.Slow
	if a != nil {
		slow = time.Duration(a.TookMS)*time.Millisecond > slowAfter
	}
	healthy := a != nil
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := changed(tx.ExecContext(ctx, `UPDATE webhooks SET position = ?, due_at = ?, slow = ?,
			failures = CASE WHEN ? THEN 0 ELSE failures END,
			failing_since = CASE WHEN ? THEN NULL ELSE failing_since END WHERE id = ? AND position = ? AND due_at = ?`, position, next, slow, healthy, healthy,
			r.ID, r.Position, r.DueAt))
		if err != nil || a == nil {
			return err
		}
		_, err = tx.NewInsert().Model(a).Exec(ctx)
		return err
	})
	if err == nil {
		r.Position, r.DueAt, r.Slow = position, next, slow
	}
	return err
}

// fail writes down that a webhook did not take something: when it is tried again, or that it is switched off.
func (s *Webhooks) fail(ctx context.Context, r *row, a *attemptRow) error {
	now := store.Time(s.Now())
	since := r.FailingSince
	if since.IsZero() {
		since = now
	}
	off := now.Sub(since) >= api.WebhookPatience.Get(s.Live) || a.Status == http.StatusGone
	reason := ""
	if off {
		reason = "failing"
	}
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		err := changed(tx.ExecContext(ctx, `UPDATE webhooks SET due_at = ?, failures = failures + 1, failing_since = ?,
			enabled = ?, disabled_reason = ? WHERE id = ? AND position = ? AND due_at = ?`,
			store.Time(now.Add(pause(r.Failures+1))), since, !off, reason, r.ID, r.Position, r.DueAt))
		if err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(a).Exec(ctx); err != nil || !off {
			return err
		}
		if err := auditlog.Add(ctx, tx, "notification", auditlog.Act{Act: "notification.disable_webhook", At: now,
			Object: r.OrganizerID.String(), Before: map[ids.Webhook]bool{r.ID: true},
			After: map[ids.Webhook]bool{r.ID: false}}); err != nil {
			return err
		}
		return stream.Add(ctx, tx, api.WebhookWasDisabled.Subject, api.WebhookEvent{WebhookID: r.ID,
			OrganizerID: r.OrganizerID, Host: r.host(), At: now})
	})
	if err == nil && off {
		s.Log.WarnContext(ctx, "a webhook is switched off: it takes nothing", "webhook", r.ID, "since", since)
	}
	return err
}

// changed returns errMoved if a statement changed nothing.
func changed(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, errMoved)
	}
	return nil
}

// attempt posts one message. Without a Problem it was taken.
func (s *Webhooks) attempt(ctx context.Context, r *row, f factRow) *attemptRow {
	now, began := s.Now(), time.Now()
	a := &attemptRow{WebhookID: r.ID, ID: string(ids.New[ids.WebhookMessageKind](now)), MessageID: f.ID, Topic: f.Topic,
		At: store.Time(now)}
	a.Status, a.Problem = s.post(ctx, r, f, now)
	a.TookMS = time.Since(began).Milliseconds()
	return a
}

// post returns the status of the answer, or 0, and what was wrong. What the receiver answers is told to nobody, and of
// an error only its kind: it could be a part of a network that the organizer has no business in.
func (s *Webhooks) post(ctx context.Context, r *row, f factRow, now time.Time) (status int, problem string) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, strings.NewReader(f.Body))
	if err != nil {
		return 0, "the address cannot be used"
	}
	signature, err := s.signature(r, f, now)
	if err != nil {
		s.Log.ErrorContext(ctx, "the secret of a webhook cannot be opened", "webhook", r.ID, "error", err)
		return 0, "the message could not be signed"
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Starlight-Webhooks/1")
	// As the specification writes them.
	req.Header["webhook-id"] = []string{f.ID.String()}
	req.Header["webhook-timestamp"] = []string{strconv.FormatInt(now.Unix(), 10)}
	req.Header["webhook-signature"] = []string{signature}
	res, err := s.client.Do(req)
	switch {
	case errors.Is(err, channel.ErrNotPublic):
		return 0, "the address is not a public one"
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err)):
		return 0, "there was no answer in time"
	case err != nil:
		return 0, "no connection, or it broke off"
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, mostRead)) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return res.StatusCode, "the receiver did not take it"
	}
	return res.StatusCode, ""
}

// signature returns the header webhook-signature: one by the secret, and one by the secret before while it is good.
func (s *Webhooks) signature(r *row, f factRow, now time.Time) (string, error) {
	secret, err := s.Keys.Open(secretColumn("secret").Place(s.DB, r.ID.String()), r.Secret)
	if err != nil {
		return "", err
	}
	header, err := Sign(secret, f.ID.String(), now, []byte(f.Body))
	if err != nil || !rotation.Good(r.PreviousUntil, now) {
		return header, err
	}
	place := secretColumn("previous_secret").Place(s.DB, r.ID.String())
	if secret, err = s.Keys.Open(place, r.PreviousSecret); err != nil {
		return "", err
	}
	before, err := Sign(secret, f.ID.String(), now, []byte(f.Body))
	return header + " " + before, err
}

// secretPrefix begins every secret.
const secretPrefix = "whsec_"

// Sign returns the signature of a message, as Standard Webhooks has it.
func Sign(secret, id string, at time.Time, body []byte) (string, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil {
		return "", errors.New("webhook: the secret is no base64")
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}
