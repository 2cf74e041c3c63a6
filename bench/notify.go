package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	mailLines      = 16 // connections, as many as the service uses for mails to many
	announcements  = 60 // mailings of a round, each to all people
	holders        = 80 // people with a ticket
	resetEvery     = 100 * time.Millisecond
	resetsOfBuyer  = 4 // in an hour there are no more
	notifyPatience = 2 * time.Minute
)

// notify measures mailings to many: from the request of an organizer to the mail on the disk of a mail server, against
// a bare SMTP client that hands the same bytes to the same server; and how long a password reset takes meanwhile.
func (b *bench) notify(ctx context.Context) (err error) {
	if !b.wants("system") {
		return nil
	}
	dir := filepath.Join(b.workDir, "notify")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	post, err := startSink(dir)
	if err != nil {
		return err
	}
	defer post.stop()
	second, err := startSink(dir) // of the same kind, for the bare client: the first has just what the system sent
	if err != nil {
		return err
	}
	defer second.stop()
	sys, err := startSystem(ctx, dir, b.binary, b.settings, "STARLIGHT_SMTP_URL=smtp://"+post.addr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.stop()) }()
	o, err := sys.sell("Notify", 0, plenty)
	if err != nil {
		return err
	}
	people, err := sys.holdersOf(ctx, o, post)
	if err != nil {
		return err
	}
	// Once everybody was told of the ticket, the system knows whom an announcement concerns.
	if err := post.await(ctx, "ticket_received", len(people)); err != nil {
		return err
	}
	var system, bare, resets series
	for round := range b.Rounds {
		mails, run, late, err := b.mailing(ctx, sys, post, o, people, round == b.Rounds-1)
		if err != nil {
			return err
		}
		system = append(system, run)
		if late.Sent > 0 {
			resets = append(resets, late)
		}
		again, err := handOver(ctx, second.addr(), mails)
		if err != nil {
			return err
		}
		bare = append(bare, again)
		fmt.Fprintf(b.progress, "%-8s round %d  system %.0f/s  bare client %.0f/s\n", "notify", round+1,
			run.Goodput(), again.Goodput())
	}
	b.rows = append(b.rows, system.row("notify", "system", "capacity", mailLines, b.cores),
		bare.row("notify", "smtp", "capacity", mailLines, b.cores), resets.row("reset during a mailing",
			"system", "paced", 1, b.cores))
	b.checkMails(post.taken(), int64(b.Rounds*announcements*len(people)))
	return nil
}

// holdersOf makes people who hold a ticket each, given to them by the buyers, and returns their addresses.
func (s *system) holdersOf(ctx context.Context, o offer, post *sink) ([]string, error) {
	people := make([]string, holders)
	each := holders / len(s.buyers)
	errs := make([]error, len(s.buyers))
	var work sync.WaitGroup
	for i, token := range s.buyers {
		work.Go(func() {
			var placed ref
			var tickets struct {
				Items []ref `json:"items"`
			}
			err := s.client.call("POST", "/v1/orders", token, newOrder{EventID: o.EventID,
				Items: []newOrderItem{{o.TicketTypeID, int64(each)}}}, &placed, 201)
			if err == nil {
				err = s.client.call("GET", "/v1/orders/"+placed.ID+"/tickets", token, nil, &tickets, 200)
			}
			for k, ticket := range tickets.Items {
				if err != nil || ctx.Err() != nil {
					break
				}
				email := fmt.Sprintf("holder%d-%d@example.org", i, k)
				people[i*each+k] = email
				err = s.client.call("POST", "/v1/users", "", map[string]string{"email": email, "password": rand.Text(),
					"name": "Holder"}, nil, 201)
				if err == nil {
					err = s.confirm(ctx, post, email)
				}
				if err == nil {
					err = s.client.call("POST", "/v1/tickets/"+ticket.ID+"/transfer", token,
						map[string]string{"email": email}, nil, 200)
				}
			}
			errs[i] = err
		})
	}
	work.Wait()
	return people, errors.Join(append(errs, ctx.Err())...)
}

// confirm proves the address of a new account with the token of its welcome.
func (s *system) confirm(ctx context.Context, post *sink, email string) error {
	token := ""
	if !poll(ctx, 10*time.Millisecond, notifyPatience, func() bool {
		for _, m := range post.taken() {
			if m.to != email || !strings.Contains(m.id(), "welcome") {
				continue
			}
			_, rest, _ := strings.Cut(strings.NewReplacer("=\r\n", "", "=\n", "").Replace(string(m.raw)), "ec_")
			token = "ec_" + rest[:min(43, len(rest))]
			return true
		}
		return false
	}) {
		return errors.Join(fmt.Errorf("no welcome has come to %s", email), ctx.Err())
	}
	return s.client.call("POST", "/v1/email-confirmations/confirm", "", map[string]string{"token": token}, nil, 204)
}

// await waits until the sink has taken n mails of a kind.
func (s *sink) await(ctx context.Context, kind string, n int) error {
	got := 0
	if poll(ctx, 10*time.Millisecond, notifyPatience, func() bool {
		got = 0
		for _, m := range s.taken() {
			if strings.Contains(m.id(), kind) {
				got++
			}
		}
		return got >= n
	}) {
		return nil
	}
	return errors.Join(fmt.Errorf("the sink has %d mails %s, want %d", got, kind, n), ctx.Err())
}

// checkMails judges what a mail server has taken: each of the announcements to each of the people, once.
func (b *bench) checkMails(mails []sunkMail, want int64) {
	type delivery struct{ id, to string }
	seen := map[string]bool{}
	delivered := map[delivery]bool{}
	var all int64
	for _, m := range mails {
		if !strings.Contains(m.id(), "announcement") {
			continue
		}
		all++
		seen[m.id()] = true
		delivered[delivery{m.id(), m.to}] = true
	}
	b.check("notify", "system", "every announcement arrives", int64(len(seen)) == want && len(delivered) == len(seen),
		"%d Message-IDs, %d with their recipients, want %d", len(seen), len(delivered), want)
	b.check("notify", "system", "and none twice", all == int64(len(delivered)),
		"%d mails, %d different", all, len(delivered))
}

// mailing sends announcements to all buyers and returns their mails. With resets, people ask for new passwords
// meanwhile.
func (b *bench) mailing(ctx context.Context, sys *system, post *sink, o offer, people []string,
	withResets bool) (mails []sunkMail, run, late Result, err error) {
	before := len(post.taken())
	distinct := map[string]bool{} // Message-IDs; only the sink's callback looks at it
	var arrived atomic.Int64
	waiting := &resetters{asked: map[string]time.Time{}, result: whole(0, 0, 0)}
	done := make(chan struct{})
	total := int64(announcements * len(people))
	post.tell(func(m sunkMail) {
		id := m.id()
		if strings.Contains(id, "password_reset") {
			waiting.arrived(m.to)
		} else if strings.Contains(id, "announcement") && !distinct[id] {
			distinct[id] = true
			if arrived.Add(1) == total {
				close(done)
			}
		}
	})
	defer post.tell(nil)
	cpu := sys.cpu()
	start := time.Now()
	refused := make(chan error, announcements)
	for i := range announcements { // all at once: the organizer's requests are not what is measured
		go func() {
			body := map[string]string{"subject": fmt.Sprintf("Announcement %d", i),
				"text": strings.Repeat("The doors open an hour early. ", 10)}
			if err := sys.client.call("POST", "/v1/events/"+string(o.EventID)+"/announcements", sys.organizer,
				body, nil, 202); err != nil {
				refused <- err
			}
		}()
	}
	tick := time.NewTicker(resetEvery)
	defer tick.Stop()
	patience := time.After(notifyPatience)
	for n := 0; ; n++ {
		select {
		case <-done:
			run = whole(total, time.Since(start), sys.cpu()-cpu)
			run.Status[250] = total
			if err := waiting.all(ctx); err != nil {
				return nil, run, late, err
			}
			for _, m := range post.taken()[before:] {
				if strings.Contains(m.id(), "announcement") {
					mails = append(mails, m)
				}
			}
			waiting.result.Elapsed = run.Elapsed
			return mails, run, waiting.result, nil
		case <-tick.C:
			if !withResets || n >= resetsOfBuyer*len(people) {
				continue
			}
			email := people[n%len(people)]
			if waiting.ask(email) {
				if err := sys.client.call("POST", "/v1/password-resets", "",
					map[string]string{"email": email}, nil, 202); err != nil {
					return nil, run, late, err
				}
			}
		case err := <-refused:
			return nil, run, late, err
		case <-patience:
			return nil, run, late, fmt.Errorf("%d of %d mails arrived", arrived.Load(), total)
		case <-ctx.Done():
			return nil, run, late, ctx.Err()
		}
	}
}

// resetters are people who wait for the mail with which they set a new password.
type resetters struct {
	mu     sync.Mutex
	asked  map[string]time.Time
	result Result
}

// ask reports false for somebody who is waiting already.
func (r *resetters) ask(email string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, waits := r.asked[email]; waits {
		return false
	}
	r.asked[email] = time.Now()
	return true
}

func (r *resetters) arrived(email string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, waits := r.asked[email]; waits {
		delete(r.asked, email)
		record(r.result.Latency, time.Since(at))
		r.result.Sent++
		r.result.Good++
		r.result.Status[250]++
	}
}

// all waits until nobody waits any more.
func (r *resetters) all(ctx context.Context) error {
	left := 0
	if poll(ctx, 5*time.Millisecond, 30*time.Second, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		left = len(r.asked)
		return left == 0
	}) {
		return nil
	}
	return errors.Join(fmt.Errorf("%d people wait for a reset", left), ctx.Err())
}

// handOver is the bare client: it hands mails over as fast as the server takes them, over as many connections.
func handOver(ctx context.Context, addr string, mails []sunkMail) (Result, error) {
	work := make(chan sunkMail)
	errs := make(chan error, mailLines)
	var group sync.WaitGroup
	start := time.Now()
	for range mailLines {
		group.Go(func() {
			if err := sendAll(addr, work); err != nil {
				errs <- err
			}
		})
	}
	var err error
	for _, m := range mails {
		select {
		case work <- m:
		case err = <-errs:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			break
		}
	}
	close(work)
	group.Wait()
	close(errs)
	r := whole(int64(len(mails)), time.Since(start), 0)
	r.Status[250] = r.Sent
	return r, errors.Join(err, <-errs)
}

func sendAll(addr string, work <-chan sunkMail) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for m := range work {
		if err := c.Mail(m.from); err != nil {
			return err
		}
		if err := c.Rcpt(m.to); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := w.Write(m.raw); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return c.Quit()
}
