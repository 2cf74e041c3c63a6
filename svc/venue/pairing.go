package venue

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// pairWithin is how long the code of a pairing is good.
const pairWithin = 10 * time.Minute

// codeBytes of chance are in a code: 32 letters that a person can type, and that cannot be guessed in ten minutes.
const codeBytes = 20

// newPairing returns a code with its picture.
func (s *Service) newPairing(now time.Time) (*api.Pairing, error) {
	raw := make([]byte, codeBytes)
	rand.Read(raw) // never fails, by its documentation
	code := strings.ToLower(base32.StdEncoding.EncodeToString(raw))
	link := strings.TrimRight(s.deps.PublicURL, "/") + "/pair#" + code
	qr, err := document.NewQR(link)
	if err != nil {
		return nil, err
	}
	return &api.Pairing{Code: code, ExpiresAt: now.Add(pairWithin).UTC(), Link: link,
		QR: "data:image/png;base64," + base64.StdEncoding.EncodeToString(qr.PNG())}, nil
}

// pair gives a device the secret of its pass. The secret is made now, so there is one device that has it.
func (s *Service) pair(ctx context.Context, req *api.PairRequest) (*api.PairedDevice, error) {
	code := strings.ToLower(strings.TrimSpace(req.Code))
	var check fault.Check
	check.Field(code != "", "code", "must be given")
	if err := check.Err(); err != nil {
		return nil, err
	}
	secret, hash := opaque.New(line.PassPrefix)
	row, err := s.passes.pair(ctx, opaque.Hash(code), hash, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "a device was paired", "pass", row.ID, "event", row.EventID)
	return &api.PairedDevice{Pass: row.pass(), Secret: secret}, nil
}

// pair gives the pass of a code another secret, and ends the code.
func (t passes) pair(ctx context.Context, code, hash string, now time.Time) (passRow, error) {
	var row passRow
	err := t.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []passRow
		// an earlier run of this transaction has the hash already
		err := tx.NewRaw(`UPDATE passes SET hash = ?, code_hash = '' WHERE code_hash = ? AND code_until > ? OR hash = ?
			RETURNING *`, hash, code, now, hash).Scan(ctx, &rows)
		switch {
		case err != nil:
			return err
		case len(rows) == 0:
			return fault.New(fault.NotFound, "the code is not known, was used, or is over: make a new pass")
		}
		row = rows[0]
		return note(ctx, tx, auditlog.Act{Object: row.ID.String(), Event: row.EventID})
	})
	return row, err
}

// pairThere gives the secret of a pass to a device at a venue.
func (s *Service) pairThere(ctx context.Context, req *line.Pair) (*api.PairedDevice, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	if err := s.edges.tryOnce(ctx, req.VenueID, s.now(), "devices are paired"); err != nil {
		return nil, err
	}
	out, err := s.pair(ctx, &api.PairRequest{Code: req.Code})
	if err != nil {
		return nil, err
	}
	s.pokeEdge(req.VenueID) // it knows the device by the new secret
	return out, nil
}

// scanHere decides for a device at a venue whose doors are the system's.
func (s *Service) scanHere(ctx context.Context, req *line.Device) (*api.AdmissionResult, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	row, err := s.passes.find(ctx, req.EventID, opaque.Hash(req.Secret))
	if err != nil {
		return nil, err
	}
	if row.Gate != "" { // the device is for that gate
		req.Gate = row.Gate
	}
	return rpc.Call(ctx, s.client, line.VenueScan, &line.AtHub{EventID: req.EventID, PassID: row.ID, Code: req.Code,
		Gate: req.Gate, Exit: req.Exit})
}

// scanWithPass decides for a device that is not at a venue.
func (s *Service) scanWithPass(ctx context.Context, req *api.PassScan) (*api.PassScanResult, error) {
	var check fault.Check
	check.Field(req.Secret != "", "secret", "must be given")
	check.Field(req.Code != "", "code", "must not be empty")
	if err := check.Err(); err != nil {
		return nil, err
	}
	row, err := s.passOf(ctx, req.EventID, req.Secret)
	if err != nil {
		return nil, err
	}
	scan := &line.AtHub{EventID: req.EventID, PassID: row.ID, Code: req.Code, Gate: cmp.Or(row.Gate, req.Gate),
		Exit: req.Way == "out", Forward: true}
	out, err := rpc.Call(ctx, s.client, line.VenueScan, scan)
	if err != nil {
		return nil, err
	}
	return &api.PassScanResult{Result: out.Result, Ticket: out.Ticket, FirstAdmittedAt: out.FirstAdmittedAt,
		FirstGate: out.FirstGate, Questions: out.Questions, Answers: out.Answers}, nil
}

// answerHere answers for a device at a venue, about a ticket that the venue does not have.
func (s *Service) answerHere(ctx context.Context, req *line.DeviceAnswers) (*api.AnswerSheet, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	row, err := s.passOf(ctx, "", req.Secret)
	if err != nil {
		return nil, err
	}
	return rpc.Call(ctx, s.client, line.VenueAnswers, &line.AnswersAtHub{EventID: row.EventID, PassID: row.ID,
		TicketID: req.TicketID, Answers: req.Answers})
}

// answerWithPass answers for a device that is not at a venue.
func (s *Service) answerWithPass(ctx context.Context, req *api.PassAnswers) (*api.AnswerSheet, error) {
	var check fault.Check
	check.Field(req.Secret != "", "secret", "must be given")
	check.Field(req.TicketID != "", "ticket_id", "must be given")
	if err := check.Err(); err != nil {
		return nil, err
	}
	row, err := s.passOf(ctx, req.EventID, req.Secret)
	if err != nil {
		return nil, err
	}
	return rpc.Call(ctx, s.client, line.VenueAnswers, &line.AnswersAtHub{EventID: req.EventID, PassID: row.ID,
		TicketID: req.TicketID, Answers: req.Answers})
}

// passOf returns the pass whose secret a device has, of an event or of any with "". Without one it is told to be paired
// again: it is nobody who could sign in.
func (s *Service) passOf(ctx context.Context, event ids.Event, secret string) (passRow, error) {
	row, err := s.passes.find(ctx, event, opaque.Hash(secret))
	if fault.Is(err, fault.Unauthenticated) {
		err = fault.New(fault.NotFound, "the device has no pass for this event, or it is over: pair it again")
	}
	return row, err
}

// find returns the pass of an event that has a secret, or of any with "". If there is none, the fault is
// Unauthenticated.
func (t passes) find(ctx context.Context, event ids.Event, hash string) (passRow, error) {
	var rows []passRow
	query := t.db.Read().NewSelect().Model(&rows).Where("hash = ?", hash).Limit(1)
	if event != "" {
		query = query.Where("event_id = ?", event)
	}
	err := query.Scan(ctx)
	switch {
	case err != nil:
		return passRow{}, store.FaultOf(ctx, err)
	case len(rows) == 0:
		return passRow{}, fault.New(fault.Unauthenticated, "the device has no pass for this event")
	}
	return rows[0], nil
}
