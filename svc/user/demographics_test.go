package user_test

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Only who agreed is counted, and until the account is gone.
func TestDemographics(t *testing.T) {
	onBoth(t, func(t *testing.T, m *harness) {
		analytics := rpc.NewClient(m.nats.Conn, rpc.ClientConfig{Name: "analytics"})
		ask := func(people ...ids.User) (*api.List[api.PersonTraits], error) {
			return rpc.Call(t.Context(), analytics, api.GetDemographics, &api.PeopleRef{UserIDs: people})
		}
		shy, open := m.register("shy@example.org", password), m.register("open@example.org", password)
		traits := api.Profile{BirthYear: m.clock.Now().Year() - 30, City: "Berlin", Country: "DE"}
		patch := func(email string, consent bool) {
			t.Helper()
			p := traits
			p.ShareDemographics = consent
			must(rpc.Call(m.as(m.login(email, password)), m.gateway, api.UpdateMe,
				&api.UpdateProfile{Profile: codec.To(p)}))(t)
		}
		patch("shy@example.org", false)
		patch("open@example.org", true)
		got := must(ask(shy.ID, open.ID, newUserID()))(t)
		want := api.PersonTraits{UserID: open.ID, AgeBand: "25-34", Country: "DE", City: "Berlin"}
		if len(got.Items) != 1 || got.Items[0] != want {
			t.Errorf("got %+v, want only %+v", got.Items, want)
		}
		patch("open@example.org", false)
		if got := must(ask(shy.ID, open.ID))(t); len(got.Items) != 0 {
			t.Errorf("without consent %+v", got.Items)
		}
		if got := must(ask())(t); len(got.Items) != 0 {
			t.Errorf("an unknown person is %+v", got.Items)
		}
		_, err := ask(make([]ids.User, 501)...)
		wantCode(t, err, fault.Invalid)
	})
}
