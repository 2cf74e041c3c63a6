package notification_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
)

// The receivers are other people's programs.
const (
	prismVersion   = "5.14.2"
	webPushVersion = "1.2.2"
)

// fetch asks a receiver something.
func fetch(t *testing.T, method, url string, body any, into any) error {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %s %w", method, url, resp.StatusCode, text, err)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// While the mail server is down nothing is lost, and what a real one receives in the end is whole.
func TestRealMailServer(t *testing.T) {
	smtp, web := testkit.Port(t), testkit.Port(t)
	h := open(t, testkit.Open(t, testkit.SQLite(t), "notification", notification.Migrations()), func(d *notification.Deps) { d.SMTPURL = "smtp://127.0.0.1:" + smtp })
	ada := h.join("ada")
	h.setProfile(ada, api.Profile{Language: "fr"})
	e := h.concert(ada)
	testkit.Eventually(t, 20*time.Second, func() error { // it has been tried, in vain
		if !strings.Contains(h.log.String(), "the mail server cannot be reached") {
			return errors.New("nothing was tried")
		}
		return nil
	})
	o, tickets := h.buys(ada, e, 2)
	mails, _ := testkit.Maildev(t, smtp, web)
	call(h, ada, api.CreateAnnouncement, &api.NewAnnouncement{EventID: e.ID, Subject: "Bientôt", Text: "À demain."})
	h.settled()
	var all []testkit.Mail
	testkit.Eventually(t, 30*time.Second, func() error {
		var err error
		if all, err = mails(); err == nil && len(all) != 3 {
			err = fmt.Errorf("%d mails, want 3", len(all))
		}
		return err
	})
	for _, m := range all {
		if len(m.To) != 1 || m.To[0].Address != "ada@example.org" || m.HTML == "" || m.Text == "" || m.Headers["auto-submitted"] != "auto-generated" {
			t.Errorf("mail %+v", m)
		}
		switch {
		case strings.HasPrefix(m.Subject, "Vos billets"):
			if m.Subject != "Vos billets : Nocturne & more" || !strings.Contains(m.Text, o.ID.String()) || len(m.Attachments) != 4 || m.Attachments[1].ContentType != "image/png" ||
				m.Attachments[0].ContentType != "application/pdf" || m.Attachments[0].FileName != "tickets-"+o.ID.String()+".pdf" ||
				!strings.Contains(m.Attachments[1].FileName, tickets[0].String()) || m.Attachments[3].FileName != e.ID.String()+".ics" || m.Headers["list-unsubscribe"] != nil {
				t.Errorf("tickets %+v", m)
			}
		case strings.Contains(m.Subject, "Bientôt"):
			if post := m.Headers["list-unsubscribe-post"]; post != "List-Unsubscribe=One-Click" || m.Headers["list-unsubscribe"] == nil {
				t.Errorf("announcement %+v", m.Headers)
			}
		}
	}
}

// A message that was sent, but whose outcome was not stored, is sent again with the same Message-ID.
func TestCrashBetweenSendingAndWriting(t *testing.T) {
	smtp, web := testkit.Port(t), testkit.Port(t)
	mails, _ := testkit.Maildev(t, smtp, web)
	h := open(t, testkit.Open(t, testkit.SQLite(t), "notification", notification.Migrations()), func(d *notification.Deps) { d.SMTPURL = "smtp://127.0.0.1:" + smtp })
	h.join("ada")
	h.settled()
	h.stop()
	// As a process leaves it that is killed there: the job is back in the stream, and open in the database.
	var id string
	if err := h.db.Read().NewRaw("SELECT id FROM messages").Scan(t.Context(), &id); err != nil {
		t.Fatal(err)
	}
	h.reopen(id)
	h.run()
	h.settled()
	var all []testkit.Mail
	testkit.Eventually(t, 30*time.Second, func() error {
		var err error
		if all, err = mails(); err == nil && len(all) != 2 {
			err = fmt.Errorf("%d mails, want 2", len(all))
		}
		return err
	})
	if got := all[0].Headers["message-id"]; got == nil || got != all[1].Headers["message-id"] || !strings.Contains(fmt.Sprint(got), id) {
		t.Errorf("ids %v and %v", got, all[1].Headers["message-id"])
	}
	// Once that is stored, the same job again sends nothing.
	h.publish(api.NotifyEmailUrgent, "once more", map[string]string{"message_id": id, "channel": "email"})
	h.settled()
	if all, err := mails(); err != nil || len(all) != 2 {
		t.Errorf("%d mails, %v", len(all), err)
	}
}

// twilio describes the part of the API that is used.
const twilio = `openapi: 3.0.3
info: {title: Messages, version: "1"}
servers: [{url: /}]
security: [{basic: []}]
paths:
  /2010-04-01/Accounts/{AccountSid}/Messages.json:
    post:
      parameters: [{name: AccountSid, in: path, required: true, schema: {type: string, pattern: "^AC[0-9a-f]{32}$"}}]
      requestBody:
        required: true
        content:
          application/x-www-form-urlencoded:
            schema:
              type: object
              required: [To, From, Body]
              properties:
                To: {type: string, pattern: "^\\+[1-9][0-9]{6,14}$"}
                From: {type: string, minLength: 1}
                Body: {type: string, minLength: 1, maxLength: 1600}
      responses:
        "201": {description: queued, content: {application/json: {schema: {type: object, required: [sid], properties: {sid: {type: string, example: SM1}}}}}}
components: {securitySchemes: {basic: {type: http, scheme: basic}}}
`

func TestRealSMSDescription(t *testing.T) {
	at, port := testkit.NPM(t, "@stoplight/prism-cli", prismVersion), testkit.Port(t)
	document := filepath.Join(t.TempDir(), "twilio.yaml")
	if err := os.WriteFile(document, []byte(twilio), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.Node(t, "127.0.0.1:"+port, filepath.Join(at, "dist", "index.js"), "mock", "--errors", "-p", port, document)
	h := open(t, testkit.Open(t, testkit.SQLite(t), "notification", notification.Migrations()), func(d *notification.Deps) {
		d.SMSURL = "http://AC" + strings.Repeat("0a", 16) + ":secret@127.0.0.1:" + port + "?from=%2B4930123456"
	})
	ada := h.join("ada")
	h.setProfile(ada, api.Profile{Phone: "+4915112345678"})
	h.set(ada, "phone_verified = TRUE")
	call(h, ada, api.PutPreferences, &api.Preferences{Kinds: []api.Preference{{Kind: api.AboutOrders, Email: true, SMS: true, Inbox: true}}})
	h.buys(ada, h.concert(ada), 1)
	h.delivered("sms", "sent", 1)
	if log := h.log.String(); strings.Contains(log, "secret") || strings.Contains(log, "+49151") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestRealPush(t *testing.T) {
	at, port := testkit.NPM(t, "web-push-testing", webPushVersion), testkit.Port(t)
	testkit.Node(t, "127.0.0.1:"+port, filepath.Join(at, "src", "bin", "server.js"), port)
	base := "http://127.0.0.1:" + port
	h := open(t, testkit.Open(t, testkit.SQLite(t), "notification", notification.Migrations()), func(d *notification.Deps) { d.PushPrivate = true })
	ada := h.join("ada")
	key := call(h, ada, api.GetPushKey, &rpc.None{})
	var browser struct {
		Data struct {
			api.NewPushSubscription
			ClientHash string
		}
	}
	if err := fetch(t, "POST", base+"/subscribe", map[string]any{"userVisibleOnly": "true", "applicationServerKey": key.Key}, &browser); err != nil {
		t.Fatal(err)
	}
	browser.Data.Endpoint = strings.Replace(browser.Data.Endpoint, "localhost", "127.0.0.1", 1)
	call(h, ada, api.CreatePushSubscription, &browser.Data.NewPushSubscription)
	h.buys(ada, h.concert(ada), 1)
	h.delivered("push", "sent", 1)
	var got struct{ Data struct{ Messages []string } }
	if err := fetch(t, "POST", base+"/get-notifications", map[string]string{"clientHash": browser.Data.ClientHash}, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Data.Messages) != 1 || !strings.Contains(got.Data.Messages[0], `"kind":"orders"`) {
		t.Errorf("the browser was shown %q", got.Data.Messages)
	}
	if err := fetch(t, "POST", base+"/expire-subscription/"+browser.Data.ClientHash, nil, nil); err != nil {
		t.Fatal(err)
	}
	h.publish(api.PasswordChanged.Subject, "c", api.UserEvent{UserID: ada.ID})
	h.delivered("push", "failed", 1)
	if left := call(h, ada, api.ListPushSubscriptions, &rpc.None{}); len(left.Items) != 0 {
		t.Errorf("still subscribed: %+v", left.Items)
	}
}
