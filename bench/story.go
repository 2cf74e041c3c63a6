package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// story is what the stream EVENTS tells of an event and of one purchase, from the order to the door, as the system
// wrote it. With other ids and later times it is the story of any number of purchases.
type story struct {
	event ids.Event
	setup []*nats.Msg
	told  []template // in the order of the stream
	names int        // different ids that change from one purchase to the next
}

// template is a message with gaps for ids and times.
type template struct {
	subject string
	header  nats.Header
	pieces  [][]byte // one more than gaps
	gaps    []gap
}

// gap is an id, by its number in the story, or a time.
type gap struct {
	name   int
	prefix string // of the id, with the underscore; empty: a time
	at     time.Time
}

var (
	gapPattern = regexp.MustCompile(`\b(ord|usr|pay|tkt|adm)_[0-9a-hjkmnp-tv-z]{26}\b|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	eachOrder  = 20 * time.Millisecond // between the purchases of a story
)

// recordStory lets the system sell a ticket and admit its holder, and returns what it told of that.
func recordStory(ctx context.Context, sys *system) (*story, error) {
	o, err := sys.sell("Analytics", 2500, plenty)
	if err != nil {
		return nil, err
	}
	s := seller{client: sys.client, tokens: sys.buyers, hot: o}
	books := &purchases{tickets: map[string]bool{}}
	if out := purchaseOp(s, books)(0)(ctx, 0); !out.Good {
		return nil, fmt.Errorf("the purchase ended with status %d", out.Status)
	}
	for id := range books.tickets {
		var ticket struct {
			Code string `json:"code"`
		}
		if err := sys.client.call("GET", "/v1/tickets/"+id, sys.buyers[0], nil, &ticket, 200); err != nil {
			return nil, err
		}
		var seen doorCounts
		if out := admitOp(sys, o, []string{ticket.Code}, "admitted", &seen)(0)(ctx, 0); !out.Good {
			return nil, fmt.Errorf("the admission ended with status %d", out.Status)
		}
	}
	nc, err := natsconf.Dial(ctx, natsconf.DialConfig{URL: sys.nats, Role: natsconf.Ops().Name,
		Creds: filepath.Join(sys.data, "creds")})
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	consumer, err := js.OrderedConsumer(ctx, api.EventsStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	defer messages.Stop()
	out := &story{event: o.EventID}
	for names := map[string]int{}; ; {
		msg, err := messages.Next()
		if err != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		if !bytes.Contains(msg.Data(), []byte(o.EventID)) && !mentions(msg.Data(), names) {
			continue
		}
		if strings.HasPrefix(msg.Subject(), "ev.event.") {
			out.setup = append(out.setup, &nats.Msg{Subject: msg.Subject(), Data: msg.Data()})
			continue
		}
		out.told = append(out.told, newTemplate(msg, names))
		out.names = len(names)
		if msg.Subject() == "ev.ticketing.ticket.admitted" { // the end
			return out, nil
		}
	}
}

func mentions(data []byte, names map[string]int) bool {
	for name := range names {
		if bytes.Contains(data, []byte(name)) {
			return true
		}
	}
	return false
}

func newTemplate(msg jetstream.Msg, names map[string]int) template {
	t := template{subject: msg.Subject(), header: nats.Header{}}
	for k, v := range msg.Headers() {
		if !strings.HasPrefix(k, "Nats-") {
			t.header[k] = v
		}
	}
	rest := msg.Data()
	for _, at := range gapPattern.FindAllIndex(msg.Data(), -1) {
		text := string(msg.Data()[at[0]:at[1]])
		begin := len(msg.Data()) - len(rest)
		t.pieces = append(t.pieces, rest[:at[0]-begin])
		rest = msg.Data()[at[1]:]
		if when, err := time.Parse(time.RFC3339Nano, text); err == nil {
			t.gaps = append(t.gaps, gap{at: when})
			continue
		}
		if _, known := names[text]; !known {
			names[text] = len(names)
		}
		t.gaps = append(t.gaps, gap{name: names[text], prefix: text[:4]})
	}
	t.pieces = append(t.pieces, rest)
	return t
}

// messages returns the messages of purchase n.
func (s *story) messages(n int) []*nats.Msg {
	later := time.Duration(n) * eachOrder
	names := make([]string, s.names)
	out := make([]*nats.Msg, len(s.told))
	for i, t := range s.told {
		var b []byte
		for k, g := range t.gaps {
			b = append(b, t.pieces[k]...)
			if g.prefix == "" {
				b = g.at.Add(later).AppendFormat(b, time.RFC3339Nano)
				continue
			}
			if names[g.name] == "" {
				names[g.name] = string(ids.New[ids.OrderKind](s.told[0].begin().Add(later)))[4:]
			}
			b = append(append(b, g.prefix...), names[g.name]...)
		}
		out[i] = &nats.Msg{Subject: t.subject, Header: maps.Clone(t.header), Data: append(b, t.pieces[len(t.gaps)]...)}
	}
	return out
}

// begin returns the first time of a message.
func (t template) begin() time.Time {
	i := slices.IndexFunc(t.gaps, func(g gap) bool { return g.prefix == "" })
	if i < 0 {
		return time.Time{}
	}
	return t.gaps[i].at
}

// tell publishes the stories of the purchases from..to-1.
func (s *story) tell(ctx context.Context, js jetstream.JetStream, from, to int) error {
	const together = 1000 // messages, the most that a batch holds
	all := make([]*nats.Msg, 0, together)
	flush := func() error {
		batch, err := jetstreamext.NewBatchPublisher(js, jetstreamext.BatchFlowControl{})
		if err != nil {
			return err
		}
		for i, m := range all {
			if i == len(all)-1 {
				_, err = batch.CommitMsg(ctx, m)
			} else {
				err = batch.AddMsg(m)
			}
			if err != nil {
				return err
			}
		}
		all = all[:0]
		return nil
	}
	for n := from; n < to; n++ {
		if len(all)+len(s.told) > together {
			if err := flush(); err != nil {
				return err
			}
		}
		all = append(all, s.messages(n)...)
	}
	if len(all) == 0 {
		return nil
	}
	return flush()
}
