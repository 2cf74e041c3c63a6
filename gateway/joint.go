package gateway

import (
	"sync"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// joints lets callers who ask the same at the same time share a question. One is on its way for an address at a time;
// who comes meanwhile joins the next one, which is sent when that is answered: an answer never stems from before any of
// its callers came.
type joints struct {
	mu     sync.Mutex
	newest map[string]*question // by address
}

// question is asked by the first of its callers, for all of them.
type question struct {
	before *question // on its way when this one was first asked, or nil
	sent   bool      // no caller joins any more

	done   chan struct{} // closed when there is an answer
	answer *nearCopy     // nil if it is not the same for all callers
	err    error         // why there is none for anyone
}

// join returns the question of a caller, and whether it is the caller who asks it.
func (j *joints) join(address string) (q *question, asks bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := j.newest[address]
	if last != nil && !last.sent {
		return last, false
	}
	q = &question{before: last, done: make(chan struct{})}
	j.newest[address] = q
	return q, true
}

// send waits until no other question is on its way, and ends that callers join this one.
func (j *joints) send(q *question) {
	if q.before != nil {
		<-q.before.done
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	q.before, q.sent = nil, true
}

// end answers a question.
func (j *joints) end(address string, q *question) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.newest[address] == q {
		delete(j.newest, address)
	}
	close(q.done)
}

// serveJoint answers together with others who ask the same. What is not the same for all callers is asked by each.
func (p *proxy) serveJoint(x *exchange, params string) error {
	address := string(x.rc.RequestURI())
	q, asks := p.g.joints.join(address)
	if asks {
		c, err := p.askJoint(q, address, x, params)
		if err == nil {
			c.send(x)
		}
		return err
	}
	<-q.done
	c, err := q.answer, q.err
	if c == nil && err == nil {
		if c, _, err = p.askAlone(x, params); err != nil {
			return err
		}
	}
	if err != nil {
		x.shed = fault.Is(err, fault.Unavailable)
		return err
	}
	c.send(x)
	return nil
}

// askJoint asks a question for all its callers.
func (p *proxy) askJoint(q *question, address string, x *exchange, params string) (*nearCopy, error) {
	defer p.g.joints.end(address, q)
	p.g.joints.send(q)
	c, shared, err := p.askAlone(x, params)
	switch {
	case shared:
		q.answer = c
	case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Timeout): // who asks again does not help
		q.err = err
	}
	return c, err
}

// askAlone asks for one caller. It reports whether all others have the same answer.
func (p *proxy) askAlone(x *exchange, params string) (c *nearCopy, shared bool, err error) {
	reply, err := p.asker(x, params, nil)("")
	if err != nil {
		return nil, false, err
	}
	return p.copyOf(x, reply), reply.Header.Get(rpc.HeaderShared) != "", nil
}
