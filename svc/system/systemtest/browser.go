package systemtest

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Browser is a browser without scripts.
type Browser struct {
	t      *testing.T
	Site   string
	seen   *seenPages
	Client *http.Client
}

// Browser returns one that keeps cookies, as a person has it, without scripts.
func (s *Site) Browser() *Browser {
	s.T.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.T.Fatal(err)
	}
	return &Browser{s.T, s.URL, s.seen, &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

// Page is what a browser shows.
type Page struct {
	At     string // the path that it ended at
	Status int
	Header http.Header
	Text   string
}

// Do sends a form, or nothing, and follows where it leads.
func (b *Browser) Do(method, path string, form url.Values, headers ...string) Page {
	b.t.Helper()
	if form == nil {
		return b.request(method, path, nil, headers...)
	}
	return b.request(method, path, strings.NewReader(form.Encode()), append([]string{"Content-Type",
		"application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, headers...)...)
}

func (b *Browser) request(method, path string, body io.Reader, headers ...string) Page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.Site+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.Client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.seen.add(string(text))
	return Page{resp.Request.URL.RequestURI(), resp.StatusCode, resp.Header, string(text)}
}

// Get opens a page.
func (b *Browser) Get(path string, headers ...string) Page { return b.Do("GET", path, nil, headers...) }

// Send sends a form as a page of the site does.
func (b *Browser) Send(path string, fields ...string) Page {
	b.t.Helper()
	return b.Do("POST", path, Form(fields...))
}

// Form is what a page sends.
func Form(fields ...string) url.Values {
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

// MustNot fails the test if a page says something.
func (p Page) MustNot(t *testing.T, words string) {
	t.Helper()
	if strings.Contains(p.Text, words) {
		t.Fatalf("%s says %q: %s", p.At, words, p.Text)
	}
}

// SendFile is send of a form with a file.
func (b *Browser) SendFile(path, name, file string, fields ...string) Page {
	b.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i < len(fields); i += 2 {
		if err := form.WriteField(fields[i], fields[i+1]); err != nil {
			b.t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile(name, "list.csv")
	if err == nil {
		_, err = part.Write([]byte(file))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		b.t.Fatal(err)
	}
	return b.request("POST", path, &body, "Content-Type", form.FormDataContentType(), "Sec-Fetch-Site", "same-origin")
}

// Must fails the test unless a page has a status and says something.
func (p Page) Must(t *testing.T, status int, says ...string) Page {
	t.Helper()
	if p.Status != status {
		t.Fatalf("%s: %d, want %d: %.2000s", p.At, p.Status, status, p.Text)
	}
	for _, words := range says {
		if !strings.Contains(p.Text, words) {
			t.Fatalf("%s does not say %q: %s", p.At, words, p.Text)
		}
	}
	return p
}

// Field returns the value of a field of a form.
func (p Page) Field(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(p.Text)
	if m == nil {
		t.Fatalf("%s has no field %s: %s", p.At, name, p.Text)
	}
	return m[1]
}

// Admission returns the first admission of a list that can be taken back.
func (p Page) Admission(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`name="admission" value="(adm_[a-z0-9]+)"`).FindStringSubmatch(p.Text)
	if found == nil {
		t.Fatalf("nothing can be taken back: %s", p.Text)
	}
	return found[1]
}
