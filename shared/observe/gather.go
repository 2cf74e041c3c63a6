package observe

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natsext"

	"github.com/starlightsymphony/starlight/shared/observe/exposition"
)

// MetricsSubject is where every process answers with its metrics.
const MetricsSubject = "ops.metrics"

const (
	instanceHeader = "Starlight-Instance"

	// exemplarsHeader is that of a question that wants exemplars in the answer. An older version does not know it, and
	// one that asks without it would show them where they are a mistake.
	exemplarsHeader = "Starlight-Exemplars"

	// gatherWait is how long a collection waits at all, gatherStall how long after the latest answer. An instance that
	// is slower than that is missing from one scrape, which starlight_instances shows.
	gatherWait  = 2 * time.Second
	gatherStall = 300 * time.Millisecond

	// maxExposition bounds what one instance may unpack to.
	maxExposition = 16 << 20
)

// AnswerMetrics makes the process answer on [MetricsSubject] with its metrics, until the connection closes or the
// returned subscription is ended. It is called once in a process, however many services that runs. instance must be
// unique among processes: it becomes the label instance.
func AnswerMetrics(nc *nats.Conn, instance string, reg *Registry, log *slog.Logger) (*nats.Subscription, error) {
	sub, err := nc.Subscribe(MetricsSubject, func(msg *nats.Msg) {
		if msg.Reply == "" {
			return
		}
		answer := nats.NewMsg(msg.Reply)
		answer.Header.Set(instanceHeader, instance)
		var err error
		if answer.Data, err = pack(reg, msg.Header.Get(exemplarsHeader) != ""); err == nil {
			err = nc.PublishMsg(answer)
		}
		if err != nil {
			log.Warn("metrics not sent", "error", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribing to %s: %w", MetricsSubject, err)
	}
	return sub, nil
}

// pack writes the exposition compressed, which keeps it far below the largest message NATS takes.
func pack(reg *Registry, exemplars bool) ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	e := reg.exposition()
	if exemplars {
		reg.withExemplars(e)
	}
	if _, err := e.Write(z, exposition.Text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func unpack(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxExposition+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxExposition {
		return nil, errors.New("larger than any real one")
	}
	return text, nil
}

// GatherMetrics writes the metrics of every process as one exposition: each family once, each sample with the label
// instance. The metrics of the calling process come from reg directly, so they are there even without NATS; the
// returned error then says why the others are not.
func GatherMetrics(
	ctx context.Context, w io.Writer, f exposition.Format, nc *nats.Conn, instance string, reg *Registry,
) error {
	e := exposition.New()
	var own bytes.Buffer
	mine := reg.exposition()
	if f == exposition.OpenMetrics {
		reg.withExemplars(mine)
	}
	if _, err := mine.Write(&own, exposition.Text); err != nil {
		return err
	}
	e.Add(own.Bytes(), instance)

	others, gatherErr := gatherOthers(ctx, e, f, nc, instance)
	e.Describe("starlight_instances",
		exposition.Family{Kind: exposition.Gauge, Help: "Processes whose metrics are in this answer."})
	e.AddSamples(fmt.Appendf(nil, "starlight_instances %d\n", others+1), "")
	if _, err := e.Write(w, f); err != nil {
		return err
	}
	return gatherErr
}

func gatherOthers(
	ctx context.Context, e *exposition.Set, f exposition.Format, nc *nats.Conn, self string,
) (int, error) {
	if nc == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, gatherWait)
	defer cancel()
	question := nats.NewMsg(MetricsSubject)
	if f == exposition.OpenMetrics {
		question.Header.Set(exemplarsHeader, "true")
	}
	answers, err := natsext.RequestManyMsg(ctx, nc, question, natsext.RequestManyStall(gatherStall))
	if err != nil {
		return 0, fmt.Errorf("asking on %s: %w", MetricsSubject, err)
	}
	var errs []error
	seen := map[string]bool{self: true}
	for msg, err := range answers {
		if errors.Is(err, nats.ErrNoResponders) {
			break
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("asking on %s: %w", MetricsSubject, err))
			break
		}
		instance := msg.Header.Get(instanceHeader)
		if instance == "" || seen[instance] {
			continue
		}
		text, err := unpack(msg.Data)
		if err != nil {
			errs = append(errs, fmt.Errorf("metrics of %s: %w", instance, err))
			continue
		}
		seen[instance] = true
		e.Add(text, instance)
	}
	return len(seen) - 1, errors.Join(errs...)
}
