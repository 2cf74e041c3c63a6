package notification

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
)

const (
	httpTimeout = 20 * time.Second
	longestSMS  = 480      // characters: three parts of an SMS with letters of all the world are 201, of plain ones 459
	mostAnswer  = 64 << 10 // bytes of a provider's answer that are read
)

// smsOffice sends through the form API that Twilio made and others offer too.
type smsOffice struct {
	url, account, token, from string
	client                    *http.Client
}

// parseSMS reads https://ACCOUNT:TOKEN@host?from=+4930123456. Without TLS is only allowed to the machine itself, or with
// insecure=true.
func parseSMS(text string) (*smsOffice, error) {
	u, err := url.Parse(text)
	bad := errors.New("the SMS address must have the form https://account:token@host?from=NUMBER")
	if err != nil || u.Hostname() == "" || u.User == nil || u.Query().Get("from") == "" {
		return nil, bad
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !local(u.Hostname()) && u.Query().Get("insecure") != "true") {
		return nil, bad
	}
	o := &smsOffice{account: u.User.Username(), from: u.Query().Get("from"), client: &http.Client{Timeout: httpTimeout, CheckRedirect: noRedirect}}
	o.token, _ = u.User.Password()
	base := url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}
	o.url = base.String() + "/2010-04-01/Accounts/" + url.PathEscape(o.account) + "/Messages.json"
	return o, nil
}

// noRedirect keeps credentials and messages from going where a provider points.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// sendSMS sends one message. The API has no idempotency: after a crash between its answer and ours it may come twice.
func (s *Service) sendSMS(ctx context.Context, out *outgoing) error {
	if s.sms == nil || out.to.Phone == "" {
		return &undeliverable{"there is no number, or no provider"}
	}
	return s.sms.send(ctx, out.to.Phone, clip(out.row.Title+"\n"+out.row.Text, longestSMS))
}

func (o *smsOffice) send(ctx context.Context, to, text string) error {
	form := url.Values{"To": {to}, "From": {o.from}, "Body": {text}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(o.account, o.token)
	resp, err := o.client.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the SMS provider cannot be reached")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil && resp.StatusCode/100 != 2 {
		return fault.Wrap(err, fault.Unavailable, "the SMS provider's answer broke off")
	}
	return judgeSMS(resp.StatusCode, body)
}

// The reasons of the provider that are the number's.
const (
	smsBadNumber    = 21211
	smsNoMobile     = 21614
	smsUnsubscribed = 21610
	smsNoRoute      = 21612
)

func judgeSMS(status int, body []byte) error {
	var problem struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusTooManyRequests || status >= 500 || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fault.New(fault.Unavailable, "the SMS provider answers %d", status) // credentials can be put right
	}
	if err := json.Unmarshal(body, &problem); err == nil {
		switch problem.Code {
		case smsBadNumber, smsNoMobile, smsUnsubscribed, smsNoRoute:
			return &undeliverable{fmt.Sprintf("%d: %s", problem.Code, oneLine(problem.Message))}
		}
	}
	return fault.New(fault.Invalid, "the SMS provider answers %d: %d %s", status, problem.Code, clip(oneLine(problem.Message), 200))
}
