package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// person returns the context of another administrator.
func (h *harness) person() (ids.User, *harness) {
	other := *h
	user := ids.New[ids.UserKind](time.Now())
	other.admin = rpc.WithPrincipal(h.t.Context(),
		rpc.Principal{User: user, Roles: []string{rpc.RoleAdmin}, Fresh: true})
	return user, &other
}

func TestHistoryHasAuthors(t *testing.T) {
	h := open(t)
	ada, asAda := h.person()
	bob, asBob := h.person()
	first := ask(asAda, api.PutSetting, &api.SetSetting{Key: key, Value: "5m"})
	ask(asBob, api.PutSetting, &api.SetSetting{Key: key, Value: "6m"})
	ask(asBob, api.PutSetting, &api.SetSetting{Key: key, Value: "6m"}) // the same again
	h.store("7m")
	ask(asAda, api.RollbackToSetting, &api.RollbackSetting{Key: key})
	ask(asBob, api.DeleteSetting, &api.SettingRef{Key: key})

	// A tool that names the claim of a person: for another value, for the same value again, of another setting, one that
	// is not there, and one that the service died with before it wrote the value.
	m, err := h.nats.JS.Stream(t.Context(), api.ConfigStream)
	if err != nil {
		t.Fatal(err)
	}
	written, err := m.GetMsg(t.Context(), first.Revision)
	if err != nil {
		t.Fatal(err)
	}
	claim := written.Header.Get(api.HeaderAuditClaim)
	other := ask(asAda, api.PutSetting, &api.SetSetting{Key: api.DoorsOpen.Key(), Value: "11m"})
	if written, err = m.GetMsg(t.Context(), other.Revision); err != nil {
		t.Fatal(err)
	}
	left := api.AuditLine{ID: ids.New[ids.AuditKind](time.Now()), At: time.Now(), Object: key,
		By: api.AuditAuthor{UserID: ada}, After: map[string]json.RawMessage{"value": json.RawMessage(`"12m"`)}}
	data, err := json.Marshal(left)
	if err == nil {
		_, err = h.nats.JS.Publish(t.Context(), api.AuditClaim(left.ID), data)
	}
	if err != nil {
		t.Fatal(err)
	}
	for value, claim := range map[string]string{"8m": claim, "5m": claim,
		"9m": ids.New[ids.AuditKind](time.Now()).String(), "11m": written.Header.Get(api.HeaderAuditClaim),
		"13m": left.ID.String()} {
		forged := nats.NewMsg("$KV.config." + key)
		forged.Data = []byte(value)
		forged.Header.Set(api.HeaderAuditClaim, claim)
		if _, err := h.nats.JS.PublishMsg(t.Context(), forged); err != nil {
			t.Fatal(err)
		}
	}
	byTool := api.AuditAuthor{Service: "nats"}
	want := []ids.User{"", "", "", "", "", bob, ada, "", bob, bob, ada}
	history := ask(h, api.GetSettingHistory, &api.SettingRef{Key: key}).Items
	if len(history) != len(want) {
		t.Fatalf("%d entries, want %d", len(history), len(want))
	}
	for i, user := range want {
		if by := history[i].By; by.UserID != user || user == "" && by != byTool {
			t.Errorf("entry %d, %+v, is by %+v; want %q", i, history[i], by, user)
		}
	}
}

// A value that names a claim which the stream of claims does not keep any more has no author, and not a wrong one.
func TestAuthorThatIsNotKnownAnyMore(t *testing.T) {
	h := open(t)
	_, asAda := h.person()
	ask(asAda, api.PutSetting, &api.SetSetting{Key: key, Value: "5m"})
	audit, err := h.nats.JS.Stream(t.Context(), api.AuditStream)
	if err == nil {
		err = audit.Purge(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // with a claim that is younger, and before
		history := ask(h, api.GetSettingHistory, &api.SettingRef{Key: key}).Items
		if by := history[len(history)-1].By; by != (api.AuditAuthor{}) {
			t.Errorf("by %+v", by)
		}
		ask(asAda, api.PutSetting, &api.SetSetting{Key: key, Value: "6m"})
	}
}

// Persons change one setting at the same time, at two instances: there is one history, in which each change has its
// author.
func TestTwoInstances(t *testing.T) {
	h := open(t)
	second := h.instance()
	const people, changes = 4, 8
	var mu sync.Mutex
	var work sync.WaitGroup
	byRevision, undone := make(map[uint64]api.SettingChange), 0
	for n := range people {
		user, as := h.person()
		work.Go(func() {
			for i := range changes {
				value := fmt.Sprintf("%dm", 1+n*changes+i)
				put, err := rpc.Call(as.admin, h.client, api.PutSetting, &api.SetSetting{Key: key, Value: value})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				byRevision[put.Revision] = api.SettingChange{Value: value, By: api.AuditAuthor{UserID: user}}
				mu.Unlock()
				if i%4 != 3 {
					continue
				}
				back, err := rpc.Call(as.admin, h.client, api.RollbackToSetting, &api.RollbackSetting{Key: key})
				if fault.Is(err, fault.Conflict) {
					continue
				} else if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				byRevision[back.Revision] = api.SettingChange{Value: back.Value, By: api.AuditAuthor{UserID: user}}
				undone++
				mu.Unlock()
			}
		})
	}
	work.Wait()
	history := ask(h, api.GetSettingHistory, &api.SettingRef{Key: key}).Items
	if len(history) != people*changes+undone || len(byRevision) != len(history) {
		t.Fatalf("%d entries of %d changes and %d rollbacks, with %d revisions", len(history), people*changes, undone,
			len(byRevision))
	}
	for _, e := range history {
		want := byRevision[e.Revision]
		if e.Value != want.Value || e.By.UserID != want.By.UserID {
			t.Errorf("revision %d is %q by %q; acknowledged was %q by %q", e.Revision, e.Value, e.By.UserID, want.Value,
				want.By.UserID)
		}
	}
	h.holds(history[0].Value, true)
	for i, r := range []*observe.Registry{h.registry, second} {
		var text bytes.Buffer
		if _, err := r.WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`starlight_rpc_requests_total\{[^}]*"put"[^}]*\} [1-9]`).Match(text.Bytes()) {
			t.Errorf("instance %d has changed nothing:\n%s", i, text.String())
		}
	}
}
