package analytics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

var otherEvent = ids.Derive[ids.EventKind]("2")

// harness is what surrounds the service: NATS with its streams, and a user service.
type harness struct {
	t    *testing.T
	nats *testkit.NATSServer
	live *settings.Live
	now  func() time.Time
}

func newHarness(t *testing.T) *harness {
	w := newHarnessWithoutUsers(t)
	w.serveUsers()
	return w
}

// newHarnessWithoutUsers is one without a user service.
func newHarnessWithoutUsers(t *testing.T) *harness {
	n := testkit.NATS(t)
	n.Stream("ANALYTICS", "facts.>")
	for name, subject := range map[string]string{"EVENTS": "ev.>", "DEAD": "dead.>"} {
		if _, err := n.JS.CreateStream(t.Context(),
			jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowAtomicPublish: true}); err != nil {
			t.Fatal(err)
		}
	}
	return &harness{t, n, settings.Fixed(api.AnalyticsMinutes.Is(24*time.Hour), api.AnalyticsIncomplete.Is(false)),
		func() time.Time { return testStart }}
}

func (w *harness) serveUsers() {
	w.t.Helper()
	srv := rpc.NewServer(w.nats.Conn, rpc.ServerConfig{Service: "user", Log: testkit.Log(w.t),
		Registry: observe.NewRegistry()})
	rpc.Handle(srv, api.GetDemographics,
		func(_ context.Context, req *api.PeopleRef) (*api.List[api.PersonTraits], error) {
			out := &api.List[api.PersonTraits]{}
			for _, id := range req.UserIDs {
				out.Items = append(out.Items, api.PersonTraits{UserID: id, AgeBand: "25-34", Country: "DE"})
			}
			return out, nil
		})
	testkit.Serve(w.t, srv)
}

// open opens the read model in dir.
func (w *harness) open(dir string) *Service {
	w.t.Helper()
	nc := w.nats.Connect()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := New(w.t.Context(), Deps{Dir: dir, NATS: nc, JS: js,
		Client: rpc.NewClient(nc, rpc.ClientConfig{Name: "analytics"}), Live: w.live, Log: testkit.Log(w.t),
		Metrics: observe.NewRegistry(), Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	s.beatInterval = 20 * time.Millisecond
	return s
}

// run starts an instance with a read model in dir. It ends with the test, or by stop.
func (w *harness) run(dir string) (s *Service, stop func()) {
	w.t.Helper()
	s = w.open(dir)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		s.Close()
	})
	w.t.Cleanup(stop)
	return s, stop
}

func (w *harness) publish(f published) {
	w.t.Helper()
	if _, err := w.nats.JS.PublishMsg(w.t.Context(), &nats.Msg{Subject: f.subject, Data: f.data}); err != nil {
		w.t.Fatal(err)
	}
}

// publishTogether publishes facts in one atomic batch, as a crowded outbox does.
func (w *harness) publishTogether(facts ...published) {
	w.t.Helper()
	batch, err := jetstreamext.NewBatchPublisher(w.nats.JS, jetstreamext.BatchFlowControl{})
	if err != nil {
		w.t.Fatal(err)
	}
	for i, f := range facts {
		m := &nats.Msg{Subject: f.subject, Data: f.data, Header: nats.Header{}}
		if i < len(facts)-1 {
			err = batch.AddMsg(m)
		} else {
			_, err = batch.CommitMsg(w.t.Context(), m)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func paid(i int) published {
	at := testStart.Add(time.Duration(i) * time.Minute)
	return publish(api.OrderWasPaid.Subject,
		api.OrderEvent{Order: api.Order{ID: ids.Derive[ids.OrderKind](fmt.Sprint(i)), EventID: testEvent,
			UserID: ids.Derive[ids.UserKind](fmt.Sprint(i)), PaidAt: &at,
			Items: []api.OrderItem{{TicketTypeID: typeNumber(0), Quantity: 2,
				UnitPrice: api.Money{Amount: 1000, Currency: "EUR"}}},
			Total: api.Money{Amount: 2000, Currency: "EUR"}}})
}

func admin() context.Context {
	return rpc.WithPrincipal(context.Background(),
		rpc.Principal{User: person("usr_admin"), Roles: []string{rpc.RoleAdmin}})
}

// folded waits until an instance has folded all that is in the streams.
func (w *harness) folded(s *Service) {
	w.t.Helper()
	for _, name := range []string{api.EventsStream, api.AnalyticsStream} {
		st, err := w.nats.JS.Stream(w.t.Context(), name)
		if err != nil {
			w.t.Fatal(err)
		}
		testkit.Eventually(w.t, 30*time.Second, func() error {
			n, err := s.foldedSequence(name)
			if err == nil && n < st.CachedInfo().State.LastSeq {
				err = fmt.Errorf("%s is folded to %d of %d", name, n, st.CachedInfo().State.LastSeq)
			}
			return err
		})
	}
}

// sold waits until an instance has folded all there is, and looks once whether that is n paid orders.
func (w *harness) sold(s *Service, n int64) *api.EventSummary {
	w.t.Helper()
	w.folded(s)
	sum := w.first(s)
	if sum.OrdersPaid != n {
		w.t.Fatalf("%d orders are paid, want %d", sum.OrdersPaid, n)
	}
	return sum
}

// first returns the first summary that an instance gives: until then it refuses.
func (w *harness) first(s *Service) (sum *api.EventSummary) {
	w.t.Helper()
	testkit.Eventually(w.t, 30*time.Second, func() (err error) {
		if sum, err = s.summary(admin(), &api.EventRef{ID: testEvent}); err != nil &&
			!fault.Is(err, fault.Unavailable) {
			w.t.Fatal(err)
		}
		return err
	})
	return sum
}

// Two instances say the same, a poison message is put aside, a restart counts nothing twice, and what is built again is
// the same again.
func TestReplicasPoisonRestartRebuild(t *testing.T) {
	w := newHarness(t)
	dir := t.TempDir()
	one, stop := w.run(dir)
	two, _ := w.run(t.TempDir())
	changes, err := w.nats.Conn.SubscribeSync(live.Subject("analytics", string(testEvent)))
	if err != nil {
		t.Fatal(err)
	}
	w.publish(publish(api.EventWasPublished.Subject, testOffer("Europe/Berlin")))
	for i := range 40 {
		w.publish(paid(i))
		if i == 20 {
			w.publishTogether(published{api.OrderWasPaid.Subject, []byte(`{"order":`)}, paid(i))
		}
	}
	w.publish(paid(7)) // again
	w.publish(publish(api.FactViews, api.TrafficFact{At: testStart, EventID: testEvent, Referrer: "example.org",
		Count: 80}))
	first, second := w.sold(one, 40), w.sold(two, 40)
	if first.Views != 80 || !reflect.DeepEqual(first, second) {
		t.Fatalf("one says %+v, two %+v", first, second)
	}
	if first.TicketsSold != 80 || first.Revenue.Amount != 80000 || first.SellThrough != 0.8 ||
		first.Conversion != 0.5 || len(first.Referrers) != 1 {
		t.Errorf("summary %+v", first)
	}
	if dead := w.nats.Messages("DEAD"); len(dead) != 1 || dead[0].Subject != "dead.analytics" {
		t.Errorf("%d dead letters", len(dead))
	}
	msg, err := changes.NextMsg(15 * time.Second)
	if err != nil || msg.Header.Get(live.HeaderEvent) != "summary" {
		t.Errorf("live: %v", err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		d, err := one.demographics(admin(), &api.EventRef{ID: testEvent})
		if err == nil && (len(d.Countries.Groups) != 1 || d.Countries.Groups[0].People != 40) {
			err = fmt.Errorf("demographics %+v", d)
		}
		return err
	})
	stop()
	w.publish(paid(40))
	again, stopAgain := w.run(dir)
	before := w.sold(again, 41)
	if before.TicketsSold != 82 {
		t.Errorf("after a restart %d sold", before.TicketsSold)
	}
	stopAgain()
	db, err := openFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bolt.Tx) error { return reset(tx, 7) }), db.Close()); err != nil {
		t.Fatal(err)
	}
	rebuilt, _ := w.run(dir) // of another generation: begins again
	testkit.Eventually(t, 30*time.Second, func() error {
		after, err := rebuilt.summary(admin(), &api.EventRef{ID: testEvent})
		if err == nil && !reflect.DeepEqual(after, before) || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Fatalf("rebuilt %+v %v, before %+v", after, err, before) // nothing in between is ever shown
		}
		return err
	})
}

// Without the user service the numbers go on, and who bought is counted once it is there: everybody, and each once.
func TestBuyersAreCountedLater(t *testing.T) {
	w := newHarnessWithoutUsers(t)
	s, _ := w.run(t.TempDir())
	w.publish(publish(api.EventWasPublished.Subject, testOffer("Europe/Berlin")))
	for i := range 30 {
		w.publish(paid(i))
	}
	w.publish(publish(api.OrderHasExpired.Subject,
		api.OrderEvent{Order: api.Order{ID: ids.Derive[ids.OrderKind]("gone"), EventID: testEvent}}))
	w.sold(s, 30)
	if d, err := s.demographics(admin(), &api.EventRef{ID: testEvent}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without the user service demographics are %+v, %v", d, err)
	}
	w.serveUsers()
	counted := func(n int64) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			d, err := s.demographics(admin(), &api.EventRef{ID: testEvent})
			if err == nil && (len(d.Countries.Groups) != 1 || d.Countries.Groups[0].People != n) {
				err = fmt.Errorf("demographics %+v, want %d", d, n)
			}
			return err
		})
	}
	counted(30)
	for i := range 35 { // five that are new
		w.publish(paid(i))
	}
	w.sold(s, 35)
	counted(35)
}

// How long numbers are kept by the minute is a live setting: it works at once.
func TestMinutesAreKeptAsLongAsTheSettingSays(t *testing.T) {
	w := newHarness(t)
	s, _ := w.run(t.TempDir())
	w.publish(publish(api.EventWasPublished.Subject, testOffer("Europe/Berlin")))
	for i := range 7 {
		w.publish(paid(-301 - i)) // five hours ago, and not at a quarter of an hour
	}
	w.sold(s, 7)
	fine := func() (n int) {
		err := s.db.View(func(tx *bolt.Tx) error {
			cells(tx, testEvent, byEvent, "", 0, 1<<32, func(minute int64, c counts) {
				if minute%coarse != 0 && c[nPaid] > 0 {
					n++
				}
			})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	if fine() != 7 {
		t.Fatalf("%d minutes are kept, want 7", fine())
	}
	if err := w.live.Change(api.AnalyticsMinutes.Is(time.Hour)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if n := fine(); n != 0 {
			return fmt.Errorf("%d minutes are kept", n)
		}
		return nil
	})
	w.sold(s, 7)
}

// Instances that share a folder have a file each, in whatever order they start.
func TestSharedFolder(t *testing.T) {
	dir := t.TempDir()
	var open []*bolt.DB
	for range 3 {
		db, err := openFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, db)
	}
	names := []string{open[0].Path(), open[1].Path(), open[2].Path()}
	if slices.Sort(names); len(slices.Compact(names)) != 3 {
		t.Errorf("files %v", names)
	}
	free := open[1].Path()
	if err := open[1].Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openFile(dir)
	if err != nil || again.Path() != free {
		t.Errorf("the next instance has not the file that is free: %v", err)
	}
	if err := errors.Join(open[0].Close(), open[2].Close(), again.Close()); err != nil {
		t.Error(err)
	}
}

// Only the organizer, managers and administrators read numbers.
func TestWhoMayRead(t *testing.T) {
	s := filled(t, testStart)
	err := s.db.Update(func(tx *bolt.Tx) error {
		f := newFold(tx)
		draft := testOffer("UTC")
		draft.Event.ID, draft.Event.Status = otherEvent, api.EventDraft
		published := testOffer("UTC")
		published.Event.Revision = 2
		for _, o := range []*api.Offer{draft, published} {
			o.Team = []api.TeamMember{{UserID: person("usr_manager"), Role: api.RoleManager},
				{UserID: person("usr_door"), Role: api.RoleDoor}}
			if err := (&description{*o}).fold(f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	reads := map[string]func(context.Context, ids.Event) error{
		"summary": func(c context.Context, e ids.Event) error {
			_,
				err := s.summary(c, &api.EventRef{ID: e})
			return err
		},
		"sales": func(c context.Context, e ids.Event) error {
			_,
				err := s.sales(c, &api.SeriesQuery{ID: e})
			return err
		},
		"attendance": func(c context.Context, e ids.Event) error {
			_, err := s.attendance(c, &api.SeriesQuery{ID: e})
			return err
		},
		"funnel": func(c context.Context, e ids.Event) error {
			_,
				err := s.funnel(c, &api.EventRef{ID: e})
			return err
		},
		"demographics": func(c context.Context, e ids.Event) error {
			_, err := s.demographics(c, &api.EventRef{ID: e})
			return err
		},
		"forecast": func(c context.Context, e ids.Event) error {
			_,
				err := s.forecast(c, &api.EventRef{ID: e})
			return err
		},
		"report": func(c context.Context, e ids.Event) error {
			_, err := s.report(c, &api.ReportRef{ID: e, File: "sales.csv"})
			return err
		},
		"compare": func(c context.Context, e ids.Event) error {
			_, err := s.compare(c, &api.CompareQuery{Events: []ids.Event{e, e}})
			return err
		},
	}
	for _, who := range []struct {
		user             ids.User
		roles            []string
		published, draft fault.Code // "" is allowed
	}{
		{person("usr_org"), nil, "", ""}, {person("usr_manager"), nil, "", ""},
		{person("usr_admin"), []string{rpc.RoleAdmin}, "", ""},
		{person("usr_door"), nil, fault.Forbidden, fault.Forbidden},
		{person("usr_other"), nil, fault.Forbidden, fault.NotFound}, {"", nil, fault.Forbidden, fault.NotFound},
	} {
		ctx := rpc.WithPrincipal(context.Background(), rpc.Principal{User: who.user, Roles: who.roles})
		for name, read := range reads {
			for event, want := range map[ids.Event]fault.Code{testEvent: who.published, otherEvent: who.draft,
				ids.Derive[ids.EventKind]("none"): fault.NotFound} {
				err := read(ctx, event)
				if want == "" && err != nil || want != "" && !fault.Is(err, want) {
					t.Errorf("%s of %s by %q: %v, want %q", name, event, who.user, err, want)
				}
			}
		}
	}
	ov, err := s.overview(rpc.WithPrincipal(context.Background(), rpc.Principal{User: person("usr_manager")}), nil)
	if err != nil || len(ov.Items) != 2 {
		t.Errorf("a manager sees %+v, %v", ov, err)
	}
	if ov, err = s.overview(rpc.WithPrincipal(context.Background(), rpc.Principal{User: person("usr_door")}),
		nil); err != nil || len(ov.Items) != 0 {
		t.Errorf("door staff see %+v, %v", ov, err)
	}
}

// A deleted event is not shown, whatever comes late.
func TestDeletedEvent(t *testing.T) {
	s := filled(t, testStart)
	gone := testOffer("UTC")
	gone.Event.Revision = 5
	late := testOffer("UTC")
	late.Event.Revision = 4
	for i, f := range []published{publish(api.EventDeleted.Subject, gone), publish(api.EventUpdated.Subject, late)} {
		c, err := new(reader).read(f.subject, f.data, testStart)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.commit(toEvents, uint64(i), []message{{seq: uint64(i + 1), change: c}}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := s.summary(admin(), &api.EventRef{ID: testEvent}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a deleted event has the numbers %+v, %v", sum, err)
	}
	ov, err := s.overview(rpc.WithPrincipal(context.Background(), rpc.Principal{User: person("usr_org")}), nil)
	if err != nil || len(ov.Items) != 0 {
		t.Errorf("the overview has %+v, %v", ov, err)
	}
}

const (
	foldDirEnv = "STARLIGHT_TEST_FOLD_DIR"
	foldURLEnv = "STARLIGHT_TEST_FOLD_NATS"
)

// foldAndDie is the process that TestKilledInMidFold starts. Its end comes as soon as something more is folded, while
// the next group is under way.
func foldAndDie() {
	err := func() error {
		nc, err := nats.Connect(os.Getenv(foldURLEnv))
		if err != nil {
			return err
		}
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		s, err := New(context.Background(),
			Deps{Dir: os.Getenv(foldDirEnv), NATS: nc, JS: js,
				Client: rpc.NewClient(nc, rpc.ClientConfig{Name: "analytics"}),
				Log:    slog.New(slog.DiscardHandler), Metrics: observe.NewRegistry()})
		if err != nil {
			return err
		}
		me, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		began, err := s.foldedSequence(api.EventsStream)
		if err != nil {
			return err
		}
		go func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if now, err := s.foldedSequence(api.EventsStream); err != nil || now > began {
					_ = me.Kill()
				}
			}
		}()
		return s.Run(context.Background())
	}()
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledInMidFold(t *testing.T) {
	w := newHarness(t)
	dir := t.TempDir()
	w.publish(publish(api.EventWasPublished.Subject, testOffer("UTC")))
	const orders = 30000
	for i := range orders {
		f := paid(i)
		if _, err := w.nats.JS.PublishMsgAsync(&nats.Msg{Subject: f.subject, Data: f.data}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-w.nats.JS.PublishAsyncComplete():
	case <-time.After(testkit.Within(60 * time.Second)):
		t.Fatal("the facts are not published")
	}
	mid := 0
	for range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), foldDirEnv+"="+dir, foldURLEnv+"="+w.nats.Conn.ConnectedUrl())
		out, err := child.CombinedOutput()
		if child.ProcessState == nil || child.ProcessState.Exited() {
			t.Fatalf("the child was not killed: %v\n%s", err, out)
		}
		db, err := openFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		at, err := (&Service{db: db}).foldedSequence(api.EventsStream)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		if at == 0 {
			t.Fatal("the child folded nothing")
		}
		if at > orders {
			break
		}
		mid++
	}
	if mid == 0 {
		t.Fatal("no child was killed in the middle")
	}
	s, _ := w.run(dir)
	sum := w.sold(s, orders)
	if sum.TicketsSold != 2*orders || sum.Revenue.Amount != 2000*orders {
		t.Errorf("after three kills: %+v", sum)
	}
}
