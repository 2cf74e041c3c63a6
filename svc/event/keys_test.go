package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A key is good from when it is made until it is deleted, expires, or has another secret and the grace is over.
func TestKeys(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		anna, ben := anna, ben
		_, err := call(w, anna, api.CreateAPIKey, api.NewAPIKey{ID: api.OrganizerOf(anna.User), Name: "Till", Scopes: []string{api.ScopeSell}})
		if f := fault.From(err); f == nil || f.Code != fault.Forbidden || len(f.Fields) != 1 || f.Fields[0].Field != "step_up" {
			t.Errorf("a key without a fresh proof: %v", err)
		}
		anna.Fresh, ben.Fresh = true, true
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Opera"})
		check := func(secret string) (*api.KeyStanding, error) {
			id, ok := api.KeyID(secret)
			if !ok {
				t.Fatalf("%q is no key", secret)
			}
			sum := sha256.Sum256([]byte(secret))
			return call(w, rpc.Principal{}, api.CheckKey, api.KeyCheck{ID: id, Hash: hex.EncodeToString(sum[:])})
		}
		good := func(secret string, want bool) {
			t.Helper()
			if got, err := check(secret); (err == nil) != want || err != nil && !fault.Is(err, fault.Unauthenticated) || want && got.OrganizerID != o.ID {
				t.Errorf("a key is %+v, %v", got, err)
			}
		}
		end := w.clock.Now().Add(48 * time.Hour)
		k := must(w, anna, api.CreateAPIKey, api.NewAPIKey{ID: o.ID, Name: "Till", Scopes: []string{api.ScopeSell, api.ScopeDoor}, ExpiresAt: &end})
		good(k.Secret, true)
		other := must(w, anna, api.CreateAPIKey, api.NewAPIKey{ID: o.ID, Name: "Other", Scopes: []string{api.ScopeRead}})
		forged := api.KeyPrefix + k.ID.String()[4:] + other.Secret[len(api.KeyPrefix)+26:]
		good(forged, false)
		for _, bad := range []api.NewAPIKey{{ID: o.ID, Name: "X"}, {ID: o.ID, Name: "X", Scopes: []string{"all"}}, {ID: o.ID, Name: " ", Scopes: []string{api.ScopeRead}},
			{ID: o.ID, Name: "X", Scopes: []string{api.ScopeRead, api.ScopeRead}}, {ID: o.ID, Name: "X", Scopes: []string{api.ScopeRead}, ExpiresAt: &o.CreatedAt}} {
			_, err := call(w, anna, api.CreateAPIKey, bad)
			wantCode(t, err, fault.Invalid)
		}
		list := must(w, anna, api.ListAPIKeys, api.OrganizerRef{ID: o.ID}).Items
		if len(list) != 2 || list[0].LastUsedAt == nil && list[1].LastUsedAt == nil {
			t.Errorf("keys are %+v", list)
		}
		hour := 3600
		next := must(w, anna, api.RotateAPIKey, api.RotateKey{ID: o.ID, KeyID: k.ID, Grace: &hour})
		good(k.Secret, true)
		good(next.Secret, true)
		w.clock.Set(w.clock.Now().Add(time.Hour))
		good(k.Secret, false)
		good(next.Secret, true)
		w.clock.Set(end)
		good(next.Secret, false)
		_, err = call(w, anna, api.RotateAPIKey, api.RotateKey{ID: o.ID, KeyID: k.ID})
		wantCode(t, err, fault.Conflict)
		good(other.Secret, true)
		none := 0
		after := must(w, anna, api.RotateAPIKey, api.RotateKey{ID: o.ID, KeyID: other.ID, Grace: &none})
		good(other.Secret, false)
		good(after.Secret, true)

		// Keys are for who manages them, and give no more than that person has.
		_, err = call(w, ben, api.ListAPIKeys, api.OrganizerRef{ID: o.ID})
		wantCode(t, err, fault.NotFound)
		must(w, anna, api.PutRole, api.SetRole{ID: o.ID, Name: "keys", Permissions: []api.Permission{api.MayManageKeys, api.MayAdmit}})
		w.member(o.ID, ben, "keys")
		must(w, ben, api.CreateAPIKey, api.NewAPIKey{ID: o.ID, Name: "Door", Scopes: []string{api.ScopeDoor}})
		for _, scope := range []string{api.ScopeRead, api.ScopeRefund, api.ScopeSell} {
			_, err = call(w, ben, api.CreateAPIKey, api.NewAPIKey{ID: o.ID, Name: "More", Scopes: []string{scope}})
			wantCode(t, err, fault.Forbidden)
		}
		_, err = call(w, ben, api.RotateAPIKey, api.RotateKey{ID: o.ID, KeyID: other.ID})
		wantCode(t, err, fault.Forbidden)
		own := must(w, ben, api.CreateOrganizer, api.NewOrganizer{Name: "Rival"})
		_, err = call(w, ben, api.DeleteAPIKey, api.APIKeyRef{ID: own.ID, KeyID: other.ID})
		wantCode(t, err, fault.NotFound)
		name := "Renamed"
		if got := must(w, anna, api.UpdateAPIKey, api.PatchAPIKey{ID: o.ID, KeyID: other.ID, Name: &name}); got.Name != name {
			t.Errorf("renamed: %+v", got)
		}
		must(w, anna, api.DeleteAPIKey, api.APIKeyRef{ID: o.ID, KeyID: other.ID})
		good(after.Secret, false)
		w.keyLines(anna.User, o.ID, k, next)
	})
}

// keyLines checks what the audit log says of the keys of an organizer.
func (w *harness) keyLines(by ids.User, o ids.Organizer, made, rotated *api.APIKeySecret) {
	w.t.Helper()
	want := map[string]int{"event.create_api_key": 3, "event.rotate_api_key": 2, "event.update_api_key": 1, "event.delete_api_key": 1}
	testkit.Eventually(w.t, 20*time.Second, func() error {
		got, mine := map[string]int{}, 0
		for _, m := range w.nats.Messages(api.AuditStream) {
			var line api.AuditLine
			if err := json.Unmarshal(m.Data, &line); err != nil {
				return err
			}
			if !strings.HasSuffix(line.Act, "_api_key") {
				continue
			}
			got[line.Act]++
			for _, secret := range []string{made.Secret, rotated.Secret} {
				sum := sha256.Sum256([]byte(secret))
				if strings.Contains(string(m.Data), secret[40:]) || strings.Contains(string(m.Data), hex.EncodeToString(sum[:])) {
					w.t.Errorf("a secret is in the line %s", m.Data)
				}
			}
			if line.Object != o.String() || line.By.UserID == "" || len(line.Before)+len(line.After) == 0 {
				w.t.Errorf("line %s", m.Data)
			}
			if _, ok := line.After[made.ID.String()]; ok && line.By.UserID == by {
				mine++
			}
		}
		if !maps.Equal(got, want) || mine != 2 {
			return fmt.Errorf("lines %v, want %v; %d of the one that was rotated", got, want, mine)
		}
		return nil
	})
}
