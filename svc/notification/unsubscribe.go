package notification

import (
	"bytes"
	"context"
	"html/template"
	"net/url"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// unsubscribeURL returns where the mails of a kind can be stopped by whoever has the mail, without signing in: RFC 8058.
// The token says who and what, and is authenticated; it can do nothing else.
func (s *Service) unsubscribeURL(user ids.User, kind string) string {
	claim := user.String() + "." + kind
	kid, sum := s.keys.MAC([]byte("unsubscribe " + claim))
	return s.PublicURL + "/v1/unsubscribe?token=" + url.QueryEscape(claim+"."+kid+"."+b64.EncodeToString(sum))
}

// readToken returns what an unsubscribe token is for.
func (s *Service) readToken(ctx context.Context, token string) (ids.User, string, error) {
	bad := fault.New(fault.NotFound, "this link is not complete; please use the one in the mail")
	part := strings.Split(token, ".")
	if len(token) > 512 || len(part) != 4 {
		return "", "", bad
	}
	user, err := ids.Parse[ids.UserKind](part[0])
	if err != nil {
		return "", "", bad
	}
	sum, err := b64.DecodeString(part[3])
	if err != nil || !s.keys.CheckMAC(ctx, part[2], []byte("unsubscribe "+part[0]+"."+part[1]), sum) || transactional(part[1]) {
		return "", "", bad
	}
	return user, part[1], nil
}

// getUnsubscribePage shows a button: opening a link must change nothing, since mail programs open links by themselves.
func (s *Service) getUnsubscribePage(ctx context.Context, req *api.UnsubscribePage) (*rpc.Blob, error) {
	user, _, err := s.readToken(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	return s.unsubscribePage(ctx, user, true)
}

func (s *Service) unsubscribe(ctx context.Context, req *api.Unsubscription) (*rpc.Blob, error) {
	user, kind, err := s.readToken(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	if err := s.stopMails(ctx, user, kind); err != nil {
		return nil, err
	}
	return s.unsubscribePage(ctx, user, false)
}

// unsubscribePage speaks the person's language, if that can be found out.
func (s *Service) unsubscribePage(ctx context.Context, user ids.User, ask bool) (*rpc.Blob, error) {
	wanted := ""
	if c, err := s.people.Do(ctx, user); err == nil {
		wanted = c.Language
	}
	lang := s.texts.language(wanted)
	page := struct {
		Lang, Text, Button string
	}{Lang: lang}
	name := "unsubscribed"
	if ask {
		name = "unsubscribe.ask"
	}
	var err error
	if page.Text, err = s.texts.part(lang, name, view{}); err != nil {
		return nil, err
	}
	if ask {
		if page.Button, err = s.texts.part(lang, "unsubscribe", view{}); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	if err := s.page.Execute(&b, page); err != nil {
		return nil, err
	}
	return &rpc.Blob{ContentType: "text/html; charset=utf-8", Data: b.Bytes()}, nil
}

func unsubscribeTemplate() (*template.Template, error) {
	return template.ParseFS(templates, "templates/unsubscribe.html")
}
