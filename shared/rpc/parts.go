package rpc

import (
	"context"

	"github.com/nats-io/nats.go"
)

// The headers of answers that are too large for one message. A reply that names a next part is asked for the rest by
// the same request with that name, until a reply names none; the bodies of all, joined, are the answer.
const (
	HeaderNext = "Starlight-Next" // of a reply: what the next part is asked by
	HeaderPart = "Starlight-Part" // of a request: the part that it asks for. No client can send it
)

// Part is a piece of an answer. It is valid only when all pieces are joined.
type Part struct {
	Body []byte // below the largest message of NATS, 1 MiB
	Next string // what the handler is asked by for the next part; "" ends the answer

	// What an answer is that is a Blob, as there.
	ContentType, Filename string
}

// HandleParts binds a handler whose answers come in parts, for a GET that is forwarded by the gateway. The handler gets
// "" for the first part, and for each later one what the part before named. Each part is a request of its own: the
// identity is checked again, and instances may take turns.
func HandleParts[Req, Resp any](s *Server, ep Endpoint[Req, Resp], handler func(ctx context.Context, req *Req,
	at string) (Part, error)) {
	b := bind[Req](s, ep.Describe(), nil)
	if b == nil {
		return
	}
	b.call = func(ctx context.Context, h nats.Header, body []byte) (answer, error) {
		req := new(Req)
		if err := b.decode(req, h, body); err != nil {
			return answer{}, err
		}
		p, err := handler(ctx, req, header(h, HeaderPart))
		return answer{body: p.Body, next: p.Next, contentType: p.ContentType, disposition: attachment(p.Filename)}, err
	}
}
