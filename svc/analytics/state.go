package analytics

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// orderState makes the facts of an order count once each, in whatever order they come.
type orderState struct {
	event    ids.Event
	seen     uint8             // bits
	payments []ids.Payment     // that have paid it
	refunds  map[string]refund // by what a refundChange is called
}

// refund is money that went back. Only what was taken by a payment that paid the order counts against its revenue.
type refund struct {
	Payment ids.Payment `json:"p"`
	Amount  int64       `json:"a"`
	At      int64       `json:"t"` // minutes since 1970
	Counted bool        `json:"c,omitempty"`
	Failed  bool        `json:"f,omitempty"`
	Changed int64       `json:"u,omitempty"` // nanoseconds since 1970: of several facts of a refund the latest counts
}

const (
	seenHeld = 1 << iota
	seenPaid
	seenExpired
	seenCancelled
	seenRefunded
)

// ticketState does the same for a ticket. The earliest admission that was not undone is the one that counts.
type ticketState struct {
	event    ids.Event
	revoked  bool
	admitted int64 // nanoseconds since 1970; 0: not
	gate     string
	past     *past // nil: nothing is known but the admission that counts
}

// past is all that is known of the admissions of a ticket.
type past struct {
	Admitted []admission `json:"a"`
	Undone   []int64     `json:"u,omitempty"` // when they were made
}

type admission struct {
	At   int64  `json:"t"`
	Gate string `json:"g,omitempty"`
}

// admit takes an admission into account.
func (s *ticketState) admit(at int64, gate string) {
	this := admission{at, gate}
	switch {
	case s.past == nil && s.admitted == 0:
		s.admitted, s.gate = at, gate
		return
	case s.past == nil && this == admission{s.admitted, s.gate}:
		return
	}
	s.keepPast()
	if !slices.Contains(s.past.Admitted, this) {
		s.past.Admitted = append(s.past.Admitted, this)
	}
	s.decide()
}

// undo takes into account that the admission that was made at a time is undone.
func (s *ticketState) undo(at int64) {
	s.keepPast()
	if !slices.Contains(s.past.Undone, at) {
		s.past.Undone = append(s.past.Undone, at)
	}
	s.decide()
}

func (s *ticketState) keepPast() {
	if s.past != nil {
		return
	}
	s.past = &past{}
	if s.admitted != 0 {
		s.past.Admitted = []admission{{s.admitted, s.gate}}
	}
}

// decide finds the admission that counts.
func (s *ticketState) decide() {
	s.admitted, s.gate = 0, ""
	for _, a := range s.past.Admitted {
		earlier := s.admitted == 0 || a.At < s.admitted || a.At == s.admitted && a.Gate < s.gate
		if earlier && !slices.Contains(s.past.Undone, a.At) {
			s.admitted, s.gate = a.At, a.Gate
		}
	}
}

// States are kept as one byte of flags and strings with their lengths before them. The event comes first in both.

var errState = errors.New("analytics: a stored state is damaged")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutText returns the string at the beginning of b, and the rest.
func cutText(b []byte) (string, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || uint64(len(b)-size) < n {
		return "", nil, errState
	}
	b = b[size:]
	return string(b[:n]), b[n:], nil
}

// eventOf returns the event of a state.
func eventOf(state []byte) (ids.Event, error) {
	if len(state) == 0 {
		return "", errState
	}
	event, _, err := cutText(state[1:])
	return ids.Event(event), err
}

func (s *orderState) bytes() ([]byte, error) {
	payments := make([]string, len(s.payments))
	for i, p := range s.payments {
		payments[i] = string(p)
	}
	b := appendText(appendText([]byte{s.seen}, string(s.event)), strings.Join(payments, " "))
	if len(s.refunds) == 0 {
		return b, nil
	}
	more, err := json.Marshal(s.refunds)
	return append(b, more...), err
}

func (s *orderState) read(b []byte) error {
	if len(b) == 0 {
		return errState
	}
	s.seen = b[0]
	event, b, err := cutText(b[1:])
	if err != nil {
		return err
	}
	payments, b, err := cutText(b)
	if err != nil {
		return err
	}
	s.event, s.payments = ids.Event(event), nil
	for p := range strings.SplitSeq(payments, " ") {
		s.payments = append(s.payments, ids.Payment(p))
	}
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, &s.refunds)
}

// The flags of a ticket.
const (
	ticketRevoked = 1 << iota
	ticketPast    // its past stands in the place of the gate
)

func (s *ticketState) bytes() ([]byte, error) {
	flags := byte(0)
	if s.revoked {
		flags |= ticketRevoked
	}
	if s.past != nil {
		flags |= ticketPast
	}
	b := binary.AppendVarint(appendText([]byte{flags}, string(s.event)), s.admitted)
	if s.past == nil {
		return append(b, s.gate...), nil
	}
	more, err := json.Marshal(s.past)
	return append(b, more...), err
}

func (s *ticketState) read(b []byte) error {
	if len(b) == 0 {
		return errState
	}
	flags := b[0]
	event, b, err := cutText(b[1:])
	if err != nil {
		return err
	}
	at, size := binary.Varint(b)
	if size <= 0 {
		return errState
	}
	s.event, s.revoked, s.admitted = ids.Event(event), flags&ticketRevoked != 0, at
	if flags&ticketPast == 0 {
		s.gate = string(b[size:])
		return nil
	}
	s.past = &past{}
	if err := json.Unmarshal(b[size:], s.past); err != nil {
		return err
	}
	s.decide()
	return nil
}
