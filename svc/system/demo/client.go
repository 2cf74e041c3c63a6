package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/starlightsymphony/starlight/shared/api"
)

// tour is one run of the demo.
type tour struct {
	Config
	guest string // access token of who buys
	door  string // access token of who admits; may be empty
}

// refusal is an answer that is a problem.
type refusal struct {
	status  int
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	Request string `json:"request_id"`
}

// Error implements error.
func (r *refusal) Error() string {
	return fmt.Sprintf("%d %s: %s (%s)", r.status, r.Code, r.Detail, r.Request)
}

// refused reports whether err is a problem with that code.
func refused(err error, code string) bool {
	var r *refusal
	return errors.As(err, &r) && r.Code == code
}

// step sends a request and prints it, with what its answer says in a few words.
func (t *tour) step(ctx context.Context, step, method, path, token string, body, into any) error {
	start := time.Now()
	status, err := t.send(ctx, method, path, token, body, into)
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	t.line(step, method, path, status, time.Since(start), gist(into))
	return nil
}

// ask sends a request and prints nothing.
func (t *tour) ask(ctx context.Context, step, method, path, token string, body, into any) error {
	_, err := t.timed(ctx, step, method, path, token, body, into)
	return err
}

// timed is ask, and tells how long the answer took.
func (t *tour) timed(ctx context.Context, step, method, path, token string, body, into any) (time.Duration, error) {
	start := time.Now()
	if _, err := t.send(ctx, method, path, token, body, into); err != nil {
		return 0, fmt.Errorf("%s: %w", step, err)
	}
	return time.Since(start), nil
}

// send sends one request. into is nil, or takes the answer: bytes as they came, anything else from JSON.
func (t *tour) send(ctx context.Context, method, path, token string, body, into any) (status int, err error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.BaseURL+path, reader)
	if err != nil {
		return 0, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := t.Client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode >= 300 {
		r := &refusal{status: resp.StatusCode}
		if err := json.Unmarshal(text, r); err != nil || r.Code == "" { // something else than the gateway answers there
			return 0, fmt.Errorf("%s %s: %s", method, path, resp.Status)
		}
		return 0, r
	}
	switch to := into.(type) {
	case nil:
	case *[]byte:
		*to = text
	default:
		if err := json.Unmarshal(text, to); err != nil {
			return 0, fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	return resp.StatusCode, nil
}

func (t *tour) printf(format string, args ...any) { fmt.Fprintf(t.Out, format, args...) }

// line prints one step.
func (t *tour) line(step, method, path string, status int, took time.Duration, said string) {
	text := fmt.Sprintf("  %-26s %-4s %-48s %d %7.1f ms  %s", step, method, brief(path), status, took.Seconds()*1000,
		said)
	t.printf("%s\n", strings.TrimRight(text, " "))
}

// brief shortens the ids in a path to their last characters, and the path to its column.
func brief(path string) string {
	const most, idChars, shown = 48, 26, 4
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if kind, id, ok := strings.Cut(part, "_"); ok && len(id) == idChars {
			parts[i] = kind + "_…" + id[idChars-shown:]
		}
	}
	path = strings.Join(parts, "/")
	if utf8.RuneCountInString(path) > most {
		path = string([]rune(path)[:most-1]) + "…"
	}
	return path
}

// gist is the part of an answer that matters for the story.
func gist(answer any) string {
	switch a := answer.(type) {
	case *api.List[api.Event]:
		return fmt.Sprintf("%d found", len(a.Items))
	case *api.Event:
		at := a.StartsAt
		if zone, err := time.LoadLocation(a.Timezone); err == nil {
			at = at.In(zone)
		}
		return fmt.Sprintf("%s, %s, %s", a.Location.Name, a.Location.City, at.Format("Mon 2 Jan 2006 15:04 MST"))
	case *api.Order:
		text := a.Status + ", " + a.Total.String()
		if a.ExpiresAt != nil {
			text += ", held for " + a.ExpiresAt.Sub(a.CreatedAt).String()
		}
		return text
	case *api.Payment:
		return a.Status + ", " + a.Amount.String()
	case *api.List[api.Ticket]:
		if len(a.Items) == 0 {
			return "none"
		}
		return fmt.Sprintf("%d signed tickets, %.24s…", len(a.Items), a.Items[0].Code)
	case *[]byte:
		size, err := png.DecodeConfig(bytes.NewReader(*a))
		if err != nil {
			return fmt.Sprintf("%d bytes", len(*a))
		}
		return fmt.Sprintf("%d×%d pixels, %d bytes of PNG", size.Width, size.Height, len(*a))
	case *api.AdmissionResult:
		return a.Result
	case *api.Venue:
		return a.Name
	case *api.Authority:
		return a.State
	case *api.Lease:
		return fmt.Sprintf("%d seats", a.Quantity)
	case *api.List[api.Lease]:
		return fmt.Sprintf("%d of %d seats sold", a.Items[0].Sold, a.Items[0].Quantity)
	case *api.Sale:
		return fmt.Sprintf("%d for %s, signed by the venue", len(a.Tickets), a.Total)
	case *api.SaleReversal:
		return fmt.Sprintf("%s back", a.Refund)
	case *api.EventSummary:
		return fmt.Sprintf("%d tickets, %s, %d admitted", a.TicketsSold-a.TicketsRevoked, a.Net, a.Admitted)
	case *edgeStatus:
		if a.Line.Up {
			return fmt.Sprintf("the line is up, %d entries wait", a.Waiting)
		}
		return fmt.Sprintf("no line, %d entries wait", a.Waiting)
	}
	return ""
}

// goodbye says what to try next. The lines work as they are, in a POSIX shell.
func (t *tour) goodbye(guest api.Register, event api.Event, kind int) {
	const text = `
Try it yourself: every call is explained at %[1]s/docs

  curl -s '%[1]s/v1/events?city=Tokyo'
  TOKEN=$(curl -s %[1]s/v1/sessions -H 'Content-Type: application/json' -d '{"email":"%[2]s","password":"%[3]s"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -s %[1]s/v1/me/tickets -H "Authorization: Bearer $TOKEN"
  curl -s %[1]s/v1/orders -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"event_id":"%[4]s","items":[{"ticket_type_id":"%[5]s","quantity":1}]}'

`
	t.printf(text, t.BaseURL, guest.Email, guest.Password, event.ID, event.TicketTypes[kind].ID)
}
