package edge_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/edge"
)

const deviceSecret = line.PassPrefix + "secret-of-a-device"

// devices lets the hub know of a device: its code, and its secret.
func (h *hub) devices() {
	rpc.Handle(h.server, line.PairDevice, func(_ context.Context, r *line.Pair) (*api.PairedDevice, error) {
		if r.Code != "good" {
			return nil, fault.New(fault.NotFound, "the code is not known")
		}
		return &api.PairedDevice{Pass: api.Pass{ID: ids.New[ids.PassKind](h.now()), EventID: h.event.EventID, CreatedBy: userOf("owner")},
			Secret: deviceSecret}, nil
	})
	rpc.Handle(h.server, line.AnswerAtHub, func(_ context.Context, r *line.DeviceAnswers) (*api.AnswerSheet, error) {
		if r.Secret != deviceSecret {
			return nil, fault.New(fault.NotFound, "the device has no pass")
		}
		return &api.AnswerSheet{EventID: h.event.EventID, OrderID: ids.New[ids.OrderKind](h.now()), Answers: r.Answers}, nil
	})
	rpc.Handle(h.server, line.ScanAtHub, func(_ context.Context, r *line.Device) (*api.AdmissionResult, error) {
		if r.Secret != deviceSecret {
			return nil, fault.New(fault.Unauthenticated, "the device has no pass for this event")
		}
		if r.Exit {
			return &api.AdmissionResult{Result: api.NotInside}, nil
		}
		return &api.AdmissionResult{Result: api.Admitted, FirstGate: r.Gate + " " + r.Code}, nil
	})
}

// A device is paired over the line, and works on with its pass when the doors are the system's again.
func TestDeviceAtDoorsOfTheHub(t *testing.T) {
	x := newSite(t, 1)
	x.admits()
	status, body, _ := x.send("POST", "/v1/pairings", "", api.PairRequest{Code: "good"})
	var paired api.PairedDevice
	if err := json.Unmarshal(body, &paired); err != nil || status != 200 || paired.Secret != deviceSecret {
		t.Fatalf("paired: %d %s %v", status, body, err)
	}
	if status, body, _ := x.send("POST", "/v1/pairings", "", api.PairRequest{Code: "bad"}); status != 404 {
		t.Errorf("a wrong code: %d %s", status, body)
	}
	path := "/v1/events/" + ids.New[ids.EventKind](x.now()).String()
	scan := func(rest, secret string) (int, edge.Admission, string) {
		t.Helper()
		status, body, _ := x.send("POST", path+rest, secret, api.Admission{Code: "c", Gate: "north"})
		var got edge.Admission
		_ = json.Unmarshal(body, &got)
		return status, got, string(body)
	}
	if status, got, body := scan("/admissions", deviceSecret); status != 200 || got.Result != api.Admitted ||
		got.FirstGate != "north c" {
		t.Errorf("a scan: %d %s", status, body)
	}
	if status, got, body := scan("/exits", deviceSecret); status != 200 || got.Result != api.NotInside {
		t.Errorf("an exit: %d %s", status, body)
	}
	if status, _, body := scan("/admissions", line.PassPrefix+"another"); status != 401 {
		t.Errorf("another device: %d %s", status, body)
	}
	if status, _, body := scan("/admissions", "a token of nobody"); status != 401 {
		t.Errorf("no device: %d %s", status, body)
	}
	x.do(func() { x.line = edge.Line{} })
	if status, _, body := scan("/admissions", deviceSecret); status != 503 || !strings.Contains(body, "no line") {
		t.Errorf("without a line: %d %s", status, body)
	}
	if status, body, _ := x.send("POST", "/v1/pairings", "", api.PairRequest{Code: "good"}); status != 503 {
		t.Errorf("paired without a line: %d %s", status, body)
	}
}
