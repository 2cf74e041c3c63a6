package rpc

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/identity"
)

// The headers by which two roles prove to each other who they are: see package identity.
const (
	HeaderProof       = "Starlight-Proof"       // of the principal
	HeaderSealed      = "Starlight-Sealed"      // of a request: who can open it; of a reply: that it is sealed
	HeaderCertificate = "Starlight-Certificate" // of a request: whose keys the receiver did not know
	HeaderUnknown     = "Starlight-Unknown"     // of a reply: keys were not known; the certificate of the receiver
)

// oneLogLine bounds how often an endpoint logs messages that it refuses: they are counted.
const oneLogLine = time.Second

// isRequest reports whether a message is a request. NATS lets a user who may create a consumer choose where it delivers
// to, one who may create a stream choose where what it stores is published again, and every user where an answer of the
// JetStream API goes. None of these has an inbox to reply to, but for acknowledgements and flow control.
func isRequest(r *nats.Msg) bool {
	if r.Reply == "" || strings.HasPrefix(r.Reply, "$JS.") {
		return false
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Nats-") {
			return false
		}
	}
	return true
}

// stray counts a message that is no request.
func (b *binding) stray(r *nats.Msg) {
	b.stats.stray.Inc()
	if b.quiet.CompareAndSwap(false, true) {
		time.AfterFunc(oneLogLine, func() { b.quiet.Store(false) })
		b.server.cfg.Log.Error("a message that is no request came to an endpoint, and was ignored",
			"subject", b.spec.Subject(), "reply", r.Reply)
	}
}

// forged counts a request whose principal is not proven, and returns its fault.
func (b *binding) forged(m *Meta, err error) error {
	b.stats.forged.Inc()
	if b.quiet.CompareAndSwap(false, true) {
		time.AfterFunc(oneLogLine, func() { b.quiet.Store(false) })
		b.server.cfg.Log.Error("a request whose identity is not proven was refused", "endpoint", b.name,
			"caller", m.Caller, "request_id", m.RequestID, "error", err)
	}
	return fault.Wrap(err, fault.Unauthenticated, "the identity is not proven")
}

// principal reads who a request is for into m. A service that calls acts as itself, unless the endpoint is one that it
// calls for a person: then it passes on the principal that the gateway has signed. The request came at the time
// arrived of the machine's clock.
func (b *binding) principal(r *nats.Msg, m *Meta, arrived time.Time) (err error) {
	text := header(r.Header, HeaderPrincipal)
	if text == "" {
		return nil
	}
	own := b.server.cfg.Identity
	if b.server.authenticated && b.spec.Access == Internal && !b.spec.OnBehalf {
		return nil
	}
	if m.Principal, err = ParsePrincipal(text); err != nil {
		return fault.Wrap(err, fault.Unauthenticated, "the identity is not readable")
	}
	if own == nil {
		if b.server.authenticated {
			return b.forged(m, identity.ErrForged)
		}
		return nil
	}
	proof := header(r.Header, HeaderProof)
	request := identity.Request{Endpoint: b.name, ID: m.RequestID, Principal: text,
		Params: header(r.Header, HeaderParams), Body: r.Data}
	now := b.server.cfg.Now().Add(-time.Since(arrived))
	err = b.meeting(r, func() error {
		if b.spec.Access == Internal {
			return own.CheckPassedOn(proof, request, b.spec.Callers, now)
		}
		return own.Check(proof, request, now)
	})
	if errors.Is(err, identity.ErrForged) {
		return b.forged(m, err)
	}
	if b.spec.PassesOn {
		m.passOn = identity.PassOn(proof)
	}
	return err
}

// open returns the body of a request that may only come sealed, and what its reply is sealed with; nil if it need not.
func (b *binding) open(r *nats.Msg, m *Meta) (sealed *identity.Sealed, body []byte, err error) {
	own := b.server.cfg.Identity
	if !b.spec.Sealed || own == nil {
		return nil, r.Data, nil
	}
	err = b.meeting(r, func() error {
		sealed, body, err = own.Open(header(r.Header, HeaderSealed),
			identity.Request{Endpoint: b.name, ID: m.RequestID, Body: r.Data})
		return err
	})
	if errors.Is(err, identity.ErrForged) {
		return nil, nil, b.forged(m, err)
	}
	return sealed, body, err
}

// meeting does what may need keys that are not known, again once it has met those whose certificates came along.
func (b *binding) meeting(r *nats.Msg, do func() error) error {
	err := do()
	certificates := r.Header[HeaderCertificate]
	if !errors.Is(err, identity.ErrUnknown) || len(certificates) == 0 {
		return err
	}
	for _, c := range certificates {
		if _, err := b.server.cfg.Identity.Meet(c); err != nil {
			return err
		}
	}
	return do()
}

// introduce answers a request whose keys are not known, and of which nothing was done. It counts as no fault: the
// sender asks again.
func (b *binding) introduce(r *nats.Msg) {
	b.stats.unknown.Inc()
	f := fault.New(fault.Unavailable, "the keys of this request are not known").After(time.Second)
	h := nats.Header{HeaderUnknown: {b.server.cfg.Identity.Certificate()}, HeaderError: {string(f.Code)},
		HeaderErrorCode: {strconv.Itoa(f.Code.Status())}}
	if err := b.send(r, h, fault.Marshal(f)); err != nil {
		b.lost(err)
	}
}

// mostMeetings is how often a request is sent again because keys were not known. While keys are being replaced, each
// try may reach an instance with others.
const mostMeetings = 4

// prove writes into the headers of a request whom it is for, and returns the body to send.
func (c *Client) prove(spec Spec, h nats.Header, id string, m *Meta, body []byte) (*identity.Sealed, []byte, error) {
	own := c.identity
	if own == nil {
		if m.Principal.Known() && h[HeaderPrincipal] == nil {
			h[HeaderPrincipal] = []string{m.Principal.String()}
		}
		return nil, body, nil
	}
	request := identity.Request{Endpoint: spec.Service + "." + spec.Name, ID: id, Body: body}
	var sealed *identity.Sealed
	if spec.Sealed {
		var opener string
		var err error
		if sealed, opener, body, err = own.Seal(spec.Service, request); err != nil {
			return nil, nil, fault.Wrap(err, fault.Internal, "the request cannot be sealed")
		}
		h[HeaderSealed], request.Body = []string{opener}, body
	}
	switch principal := m.Principal.String(); {
	case c.name == identity.Signer && principal != "":
		request.Principal, request.Params = principal, header(h, HeaderParams)
		h[HeaderPrincipal] = []string{principal}
		h[HeaderProof] = []string{own.Prove(spec.Service, request, c.now(), spec.PassesOn)}
	case spec.OnBehalf && m.passOn != "":
		h[HeaderPrincipal], h[HeaderProof] = []string{principal}, []string{m.passOn}
	default:
		delete(h, HeaderPrincipal)
	}
	return sealed, body, nil
}

// meet learns the keys of a service that did not know those of a request, and adds to h what it needs. It reports false
// if the reply says no such thing.
func (c *Client) meet(spec Spec, h nats.Header, reply *nats.Msg) (bool, error) {
	certificate := header(reply.Header, HeaderUnknown)
	if certificate == "" || c.identity == nil {
		return false, nil
	}
	role, err := c.identity.Meet(certificate)
	if err == nil && role != spec.Service {
		err = errors.New("it is of " + role)
	}
	if err != nil {
		return true, fault.Wrap(err, fault.Unavailable, "the certificate of the %s service is wrong", spec.Service)
	}
	h[HeaderCertificate] = []string{c.identity.Certificate()}
	if other := c.identity.CertificateOf(header(h, HeaderProof)); other != "" && other != h[HeaderCertificate][0] {
		h[HeaderCertificate] = append(h[HeaderCertificate], other)
	}
	return true, nil
}

// opened returns a reply with its body open. A success that is not sealed is not the service's.
func opened(reply *nats.Msg, sealed *identity.Sealed) (*nats.Msg, error) {
	if sealed == nil || Fault(reply) != nil {
		return reply, nil
	}
	body, err := sealed.OpenReply(reply.Data)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the answer cannot be opened")
	}
	reply.Data = body
	return reply, nil
}
