package observing_test

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// From a bucket of a histogram in Prometheus one gets to the trace of a request that is in it, as the collector has it:
// of a request at the gateway, and of calls that another process served.
func TestExemplars(t *testing.T) {
	collector := testkit.NewCollector(t)
	cfg := config(t)
	cfg.Traces = collector.URL
	s, sys, _ := systemtest.Start(t, cfg)
	p := startPrometheus(t, strings.TrimPrefix(sys.OpsURL(), "http://"))
	join(t, sys, cfg, "ticketing")
	s.Set(s.Login(systemtest.AdminEmail), api.TraceSampled.Key(), "10000")

	instances := map[string]bool{}
	for series, span := range map[string]string{
		`starlight_http_duration_seconds_bucket{method="POST",route="/v1/orders"}`:           "gateway POST /v1/orders",
		`starlight_rpc_duration_seconds_bucket{service="ticketing",endpoint="create_order"}`: "ticketing ticketing.create_order",
	} {
		testkit.Eventually(t, 90*time.Second, func() error {
			sell(t, sys)
			found, err := p.exemplars(series)
			if err != nil || len(found) == 0 {
				return fmt.Errorf("%s has no exemplars (%v)", series, err)
			}
			traces := map[string]bool{}
			for _, one := range collector.Spans() {
				if name(one) == span {
					traces[fmt.Sprintf("%x", one.TraceId)] = true
				}
			}
			for _, x := range found {
				if !traces[x.Labels["trace_id"]] {
					return fmt.Errorf("%s: the collector has no trace %v with %s", series, x, span)
				}
				instances[x.instance] = true
			}
			return nil
		})
	}
	testkit.Eventually(t, 90*time.Second, func() error {
		found, err := p.exemplars(`starlight_rpc_duration_seconds_bucket`)
		for _, x := range found {
			instances[x.instance] = true
		}
		if len(instances) != 2 {
			sell(t, sys)
			err = errors.Join(err, fmt.Errorf("there are exemplars of %v", instances))
		}
		return err
	})
}

// exemplar is one that Prometheus has.
type exemplar struct {
	Labels    map[string]string
	Value     string
	Timestamp float64

	instance string
}

// exemplars returns what Prometheus has of a series from the last hour, or says which is not in its bucket.
func (p *prometheusServer) exemplars(series string) (all []exemplar, err error) {
	var data []struct {
		SeriesLabels map[string]string
		Exemplars    []exemplar
	}
	now := time.Now()
	err = p.get("/api/v1/query_exemplars?"+url.Values{"query": {series},
		"start": {strconv.FormatInt(now.Add(-time.Hour).Unix(), 10)},
		"end":   {strconv.FormatInt(now.Add(time.Hour).Unix(), 10)}}.Encode(), &data)
	for _, one := range data {
		for _, x := range one.Exemplars {
			bound, _ := strconv.ParseFloat(one.SeriesLabels["le"], 64)
			value, bad := strconv.ParseFloat(x.Value, 64)
			if bad != nil || value <= 0 || value > bound || now.Sub(time.UnixMilli(int64(x.Timestamp*1000))).Abs() > time.Hour {
				err = errors.Join(err, fmt.Errorf("%v is an exemplar of %v", x, one.SeriesLabels))
			}
			x.instance = one.SeriesLabels["instance"]
			all = append(all, x)
		}
	}
	return all, err
}
