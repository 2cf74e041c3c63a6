package pages

import (
	"net/url"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// webhooks shows the systems of an organizer that are told what happens.
func (s *Site) webhooks(v *visit) error { return s.webhooksAgain(v, nil) }

func (s *Site) webhooksAgain(v *visit, failed error) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListWebhooks, &api.OrganizerRef{ID: m.ID})
	if err != nil {
		return err
	}
	at := v.form("url")
	if u, err := url.Parse(at); err != nil || !u.IsAbs() { // no browser takes it for a field of this kind
		at = ""
	}
	return v.showOrganizer("webhooks", m, failed, map[string]any{"Hooks": list.Items, "Topics": api.HookTopics(),
		"URL": at, "Name": v.form("name")})
}

// ticked returns which of some words are ticked in a form, under names that begin with a prefix.
func (v *visit) ticked(prefix string, words []string) (all []string) {
	for _, word := range words {
		if v.form(prefix+word) != "" {
			all = append(all, word)
		}
	}
	return all
}

// secret shows what is shown this once. No browser keeps the page.
func (v *visit) secret(m *api.Membership, kind, value, back string) error {
	v.RC.Response.Header.Set("Cache-Control", "no-store")
	return v.showOrganizer("secret", m, nil, map[string]any{"Kind": kind, "Value": value, "Back": back})
}

func (s *Site) createWebhook(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	made, err := ask(v, api.CreateWebhook, &api.NewWebhook{ID: m.ID, URL: v.form("url"), Name: v.form("name"),
		Topics: v.ticked("topic.", api.HookTopics())})
	if err != nil {
		return s.webhooksAgain(v, err)
	}
	return v.secret(m, "webhook", made.Secret, organizerPath(m.ID)+"/webhooks/"+made.ID.String())
}

// webhook shows how one is, and what was sent to it.
func (s *Site) webhook(v *visit) error { return s.webhookAgain(v, nil) }

func (v *visit) hookHere(m *api.Membership) (api.WebhookRef, error) {
	id, err := ids.Parse[ids.WebhookKind](v.Param("hook"))
	if err != nil {
		return api.WebhookRef{}, fault.New(fault.NotFound, "there is no such webhook")
	}
	return api.WebhookRef{ID: m.ID, WebhookID: id}, nil
}

func (s *Site) webhookAgain(v *visit, failed error) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	ref, err := v.hookHere(m)
	if err != nil {
		return err
	}
	hook, err := ask(v, api.GetWebhook, &ref)
	if err != nil {
		return err
	}
	log, err := ask(v, api.ListWebhookAttempts, &api.WebhookPage{ID: ref.ID, WebhookID: ref.WebhookID,
		Page: api.Page{Limit: 50, Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	return v.showOrganizer("webhook", m, failed, map[string]any{"Hook": hook, "Attempts": log.Items,
		"Next": log.NextCursor, "From": s.cfg.Now().Add(-24 * time.Hour).UTC().Format(local)})
}

// changeWebhook switches one on or off, gives it another secret, tells it again what happened, or deletes it.
func (s *Site) changeWebhook(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	ref, err := v.hookHere(m)
	if err != nil {
		return err
	}
	back := organizerPath(m.ID) + "/webhooks"
	here := back + "/" + ref.WebhookID.String()
	switch v.form("do") {
	case "on", "off":
		on := v.form("do") == "on"
		_, err = ask(v, api.UpdateWebhook, &api.PatchWebhook{ID: ref.ID, WebhookID: ref.WebhookID, Enabled: &on})
	case "replay":
		f := v.machineFields()
		req := &api.ReplayWebhook{ID: ref.ID, WebhookID: ref.WebhookID}
		f.moment("from").Apply(&req.From)
		if err = f.check.Err(); err == nil {
			_, err = ask(v, api.ReplayWebhookFrom, req)
		}
	case "rotate":
		made, err := ask(v, api.RotateWebhookSecret, &api.RotateWebhook{ID: ref.ID, WebhookID: ref.WebhookID})
		if err != nil {
			return s.webhookAgain(v, err)
		}
		return v.secret(m, "webhook", made.Secret, here)
	case "delete":
		if _, err = ask(v, api.DeleteWebhook, &ref); err == nil {
			here = back
		}
	}
	if err != nil {
		return s.webhookAgain(v, err)
	}
	v.redirect(here)
	return nil
}

// apiKeys shows the keys by which machines act for an organizer.
func (s *Site) apiKeys(v *visit) error { return s.apiKeysAgain(v, nil) }

func (s *Site) apiKeysAgain(v *visit, failed error) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListAPIKeys, &api.OrganizerRef{ID: m.ID})
	if err != nil {
		return err
	}
	return v.showOrganizer("apikeys", m, failed, map[string]any{"Keys": list.Items, "Scopes": api.Scopes(),
		"Name": v.form("name")})
}

// changeAPIKeys makes a key, gives one another secret, or deletes it.
func (s *Site) changeAPIKeys(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	made, err := s.changeKey(v, m.ID)
	if err != nil {
		return s.apiKeysAgain(v, err)
	}
	back := organizerPath(m.ID) + "/api-keys"
	if made != nil {
		return v.secret(m, "key", made.Secret, back)
	}
	v.redirect(back)
	return nil
}

// changeKey returns a secret if one was made.
func (s *Site) changeKey(v *visit, org ids.Organizer) (*api.APIKeySecret, error) {
	if v.form("do") == "create" {
		f := v.machineFields()
		req := &api.NewAPIKey{ID: org, Name: v.form("name"), Scopes: v.ticked("scope.", api.Scopes()),
			ExpiresAt: f.day("expires")}
		if err := f.check.Err(); err != nil {
			return nil, err
		}
		return ask(v, api.CreateAPIKey, req)
	}
	id, err := ids.Parse[ids.KeyKind](v.form("key"))
	if err != nil {
		return nil, fault.New(fault.NotFound, "there is no such key")
	}
	if v.form("do") == "rotate" {
		return ask(v, api.RotateAPIKey, &api.RotateKey{ID: org, KeyID: id})
	}
	_, err = ask(v, api.DeleteAPIKey, &api.APIKeyRef{ID: org, KeyID: id})
	return nil, err
}
