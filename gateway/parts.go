package gateway

import (
	"io"
	"net"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	partTries    = 5                      // a part is asked for, when its service is away or slow
	partPause    = 200 * time.Millisecond // before the second try; doubled before each further one
	partPatience = 30 * time.Second       // for a client to take a part
)

// parts is the body of an answer that comes in parts. The next part is asked for when the client has taken the one
// before, so an answer takes as little memory as a message, however long it is. When a part cannot be had the body
// breaks off: its last chunk is missing, and the client knows that it has not got all.
type parts struct {
	g        *Gateway
	x        *exchange
	endpoint string
	conn     net.Conn
	ask      func(part string) (*nats.Msg, error)
	rest     []byte
	next     string // "" after the last part
}

// Read implements io.Reader.
func (p *parts) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.next == "" {
			return 0, io.EOF
		}
		reply, err := p.part()
		if err != nil {
			p.g.cfg.Log.Warn("an answer broke off", "endpoint", p.endpoint, "request_id", p.x.requestID, "error", err)
			return 0, err
		}
		p.rest, p.next = reply.Data, reply.Header.Get(rpc.HeaderNext)
		if err := p.conn.SetWriteDeadline(time.Now().Add(partPatience)); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// part asks for the next part, again when that may help.
func (p *parts) part() (*nats.Msg, error) {
	for try, pause := 1, partPause; ; try, pause = try+1, 2*pause {
		reply, err := p.ask(p.next)
		if err == nil || try == partTries || !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Timeout) {
			return reply, err
		}
		time.Sleep(pause)
	}
}
