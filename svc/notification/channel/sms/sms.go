// Package sms sends text messages through the form API that Twilio made and others offer too.
package sms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// maxLength is in characters: three parts of an SMS hold 201 letters of any script, or 459 of the plain ones.
const maxLength = 480

// Sender sends through one account at a provider.
type Sender struct {
	url, account, token, from string
	client                    *http.Client
}

// New reads https://ACCOUNT:TOKEN@host?from=+4930123456. An address without TLS must be that of this machine, or have
// insecure=true.
func New(address string) (*Sender, error) {
	u, err := url.Parse(address)
	bad := errors.New("the SMS address must have the form https://account:token@host?from=NUMBER")
	if err != nil || u.Hostname() == "" || u.User == nil || u.Query().Get("from") == "" {
		return nil, bad
	}
	plain := u.Scheme == "http" && (channel.IsLocal(u.Hostname()) || u.Query().Get("insecure") == "true")
	if u.Scheme != "https" && !plain {
		return nil, bad
	}
	s := &Sender{account: u.User.Username(), from: u.Query().Get("from")}
	s.client = &http.Client{Timeout: channel.HTTPTimeout, CheckRedirect: channel.NoRedirect}
	s.token, _ = u.User.Password()
	base := url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}
	s.url = base.String() + "/2010-04-01/Accounts/" + url.PathEscape(s.account) + "/Messages.json"
	return s, nil
}

// Send sends one message, shortened if need be. The API has no idempotency: after a crash between its answer and the
// record of it, the message is sent twice.
func (s *Sender) Send(ctx context.Context, to, message string) error {
	form := url.Values{"To": {to}, "From": {s.from}, "Body": {text.Shorten(message, maxLength)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(s.account, s.token)
	resp, err := s.client.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the SMS provider cannot be reached")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, channel.MaxResponseSize))
	if err != nil && resp.StatusCode/100 != 2 {
		return fault.Wrap(err, fault.Unavailable, "the SMS provider's answer broke off")
	}
	return classify(resp.StatusCode, body)
}

// The provider's codes for a number that takes no message.
const (
	invalidNumber = 21211
	notMobile     = 21614
	unsubscribed  = 21610
	noRoute       = 21612
)

// classify says what an answer means: for now, for this number, or for this message.
func classify(status int, body []byte) error {
	var problem struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusTooManyRequests || status >= 500,
		status == http.StatusUnauthorized || status == http.StatusForbidden: // credentials can be put right
		return fault.New(fault.Unavailable, "the SMS provider answers %d", status)
	}
	if err := json.Unmarshal(body, &problem); err == nil {
		switch problem.Code {
		case invalidNumber, notMobile, unsubscribed, noRoute:
			reason := fmt.Sprintf("%d: %s", problem.Code, text.OneLine(problem.Message))
			return &channel.Undeliverable{Reason: reason}
		}
	}
	reason := text.Shorten(text.OneLine(problem.Message), 200)
	return fault.New(fault.Invalid, "the SMS provider answers %d: %d %s", status, problem.Code, reason)
}
