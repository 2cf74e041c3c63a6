package gateway_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A service of somebody else that does not answer has an eighth of the requests that may be under way, over all of its
// routes and however often it announces them: the rest is for those who do answer.
func TestHungServiceOfOthersKeepsNobodyOut(t *testing.T) {
	const most, crowd = 64, 3 * 64
	d := open(t, func(c *gateway.Config) {
		c.InFlight = most
		c.Settings = settings.Fixed(api.RatePerAddress.Is(0), api.RatePerPerson.Is(0), api.AllowedServices.Is("hung"))
	})
	var asked atomic.Int64
	serve := func() micro.Service {
		s, err := micro.AddService(d.nats.Connect(), micro.Config{Name: "hung", Version: "1.0.0"})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"one", "two"} {
			err := s.AddEndpoint(name, micro.HandlerFunc(func(micro.Request) { asked.Add(1) }), micro.WithEndpointSubject("x.hung."+name),
				micro.WithEndpointMetadata(map[string]string{"method": "GET", "path": "/" + name, "access": "public"}))
			if err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	first := serve()
	testkit.Eventually(t, 10*time.Second, func() error {
		resp, err := d.http.Post(d.url+"/x/hung/two", "", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			return fmt.Errorf("the routes are not there: %s", resp.Status)
		}
		return nil
	})
	var all sync.WaitGroup
	var refused atomic.Int64
	ask := func(name string) {
		for range crowd / 4 {
			all.Go(func() {
				resp, err := d.http.Get(d.url + "/x/hung/" + name)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				switch resp.StatusCode {
				case http.StatusServiceUnavailable:
					refused.Add(1)
				case http.StatusGatewayTimeout:
				default:
					t.Errorf("a hung service: %s", resp.Status)
				}
			})
		}
	}
	ask("one")
	ask("two")
	testkit.Eventually(t, 10*time.Second, func() error {
		if asked.Load()+refused.Load() < crowd/2 {
			return errors.New("requests are on their way")
		}
		return nil
	})
	if err := first.Stop(); err != nil { // what it announces next is a new answer
		t.Fatal(err)
	}
	serve()
	ask("one")
	ask("two")
	testkit.Eventually(t, 10*time.Second, func() error {
		if asked.Load()+refused.Load() < crowd {
			return errors.New("requests are on their way")
		}
		return nil
	})
	if got := d.do("GET", "/v1/events/"+string(theEvent), ""); got.StatusCode != 200 {
		t.Errorf("an event, while others hang: %d %s", got.StatusCode, got.body)
	}
	if n := asked.Load(); n > most/8*2 { // those that time out make room for others
		t.Errorf("%d requests got to the hung service at once", n)
	}
	all.Wait()
}
