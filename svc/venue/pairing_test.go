package venue_test

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func stranger() rpc.Principal { return rpc.Principal{} }

// A code gives the secret of a pass once, in ten minutes, to one of many who try; the secret of before is over then.
func TestPairing(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		organizer := person()
		concert := h.show(organizer.User)
		made := must(h, organizer, api.CreatePass, api.NewPass{EventID: concert, Name: "Phone", Gate: "north"})
		p := made.Pairing
		picture, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(p.QR, "data:image/png;base64,"))
		if err != nil || !strings.HasPrefix(string(picture), "\x89PNG") || p.Link != "https://tickets.example/pair#"+p.Code ||
			len(p.Code) != 32 || !p.ExpiresAt.Equal(h.clock.Now().Add(10*time.Minute)) {
			t.Errorf("pairing %+v", p)
		}
		var won atomic.Int32
		var got api.PairedDevice
		var tries sync.WaitGroup
		for range 8 {
			tries.Go(func() {
				out, err := call(h, stranger(), api.PairDevice, api.PairRequest{Code: " " + strings.ToUpper(p.Code)})
				switch {
				case err == nil:
					won.Add(1)
					got = *out
				case !fault.Is(err, fault.NotFound):
					t.Errorf("a code that was used: %v", err)
				}
			})
		}
		tries.Wait()
		if won.Load() != 1 || got.Pass != made.Pass || got.Secret == made.Secret || !strings.HasPrefix(got.Secret, line.PassPrefix) {
			t.Fatalf("%d were paired: %+v", won.Load(), got)
		}

		id, n := h.place(organizer)
		e := h.edge(id, n, "edge-one-1")
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		scan := func(secret, gate string) (*api.AdmissionResult, error) {
			return rpc.Call(t.Context(), e.client, line.ScanAtHub, &line.Device{Session: e.session(), EventID: concert,
				Secret: secret, Code: "c", Gate: gate})
		}
		if out, err := scan(got.Secret, "south"); err != nil || out.FirstGate != "north by "+made.ID.String() {
			t.Errorf("a scan at the system: %+v %v", out, err)
		}
		if _, err := scan(made.Secret, ""); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("the secret of before: %v", err)
		}

		there, err := call(h, stranger(), api.ScanWithPass, api.PassScan{EventID: concert, Secret: got.Secret, Code: "c", Gate: "south"})
		if err != nil || there.FirstGate != "north by "+made.ID.String() {
			t.Errorf("a scan away from the venue: %+v %v", there, err)
		}
		for event, secret := range map[ids.Event]string{concert: made.Secret, h.show(organizer.User): got.Secret} {
			if _, err := call(h, stranger(), api.ScanWithPass, api.PassScan{EventID: event, Secret: secret, Code: "c"}); !fault.Is(err, fault.NotFound) {
				t.Errorf("with a pass that is over, or of another event: %v", err)
			}
		}

		ticket := ids.New[ids.TicketKind](h.clock.Now())
		given := []api.Answer{{QuestionID: ids.New[ids.QuestionKind](h.clock.Now()), Value: "471"}}
		for name, ask := range map[string]func(event ids.Event, secret string, in []api.Answer) (*api.AnswerSheet, error){
			"at the venue": func(_ ids.Event, secret string, in []api.Answer) (*api.AnswerSheet, error) {
				return rpc.Call(t.Context(), e.client, line.AnswerAtHub, &line.DeviceAnswers{Session: e.session(),
					Secret: secret, TicketID: ticket, Answers: in})
			},
			"elsewhere": func(event ids.Event, secret string, in []api.Answer) (*api.AnswerSheet, error) {
				return call(h, stranger(), api.AnswerWithPass, api.PassAnswers{EventID: event, Secret: secret, TicketID: ticket,
					Answers: in})
			}} {
			for _, in := range [][]api.Answer{nil, given, {}} { // nil reads, and the others write
				sheet, err := ask(concert, got.Secret, in)
				if err != nil || sheet.EventID != concert || sheet.Tickets[0].Name != made.ID.String() ||
					sheet.Tickets[0].TicketID != ticket || len(sheet.Answers) != len(in) || sheet.Open != (in != nil) {
					t.Errorf("%s: %+v %v", name, sheet, err)
				}
			}
			if _, err := ask(concert, made.Secret, given); !fault.Is(err, fault.NotFound) {
				t.Errorf("%s with a secret that is over: %v", name, err)
			}
		}
		if _, err := call(h, stranger(), api.AnswerWithPass, api.PassAnswers{EventID: h.show(organizer.User), Secret: got.Secret,
			TicketID: ticket, Answers: given}); !fault.Is(err, fault.NotFound) {
			t.Errorf("the pass of another event answers: %v", err)
		}

		again := must(h, organizer, api.CreatePass, api.NewPass{EventID: concert, Name: "Tablet"})
		device, err := rpc.Call(t.Context(), e.client, line.PairDevice, &line.Pair{Session: e.session(), Code: again.Pairing.Code})
		if err != nil || device.ID != again.ID {
			t.Errorf("at the venue: %+v %v", device, err)
		}
		late := must(h, organizer, api.CreatePass, api.NewPass{EventID: concert, Name: "Late"})
		h.clock.Advance(10 * time.Minute)
		if _, err := call(h, stranger(), api.PairDevice, api.PairRequest{Code: late.Pairing.Code}); !fault.Is(err, fault.NotFound) {
			t.Errorf("too late: %v", err)
		}
		if _, err := call(h, stranger(), api.PairDevice, api.PairRequest{Code: ""}); !fault.Is(err, fault.Invalid) {
			t.Errorf("no code: %v", err)
		}
	})
}

// A venue that is lost connects no more: neither its computer nor another one with its folder.
func TestWithdraw(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		organizer := person()
		id, n := h.place(organizer)
		e := h.edge(id, n, "edge-one-1")
		if err := e.hello(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := rpc.Call(context.Background(), h.inside, line.WithdrawVenue, &line.VenueRef{VenueID: id})
			if err != nil || got.Access != api.AccessOutside {
				t.Fatalf("withdrawn: %+v %v", got, err)
			}
		}
		_, err := e.ask(line.Status{})
		precondition(t, err, "released")
		precondition(t, e.hello(), "released")
		if err := h.edge(id, n, "edge-two-2").hello(); err != nil {
			t.Errorf("another computer: %v", err)
		}
	})
}
