package email_test

import (
	"errors"
	"net/mail"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/svc/notification/channel/email"
)

// A mail is one file, whole and private, however often it is sent; one that cannot be written leaves nothing.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "outbox")
	folder, err := email.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	m := &email.Mail{ID: "x.1@example.org", From: mail.Address{Address: "a@example.org"}, To: mail.Address{Address: "b@example.org"},
		Date: time.Date(2030, 5, 17, 18, 0, 0, 0, time.UTC), Subject: "Hello", Text: "Hello", HTML: "<p>Hello</p>",
		Attachments: []email.Attachment{{Name: "a.pdf", ContentType: "application/pdf", Data: make([]byte, 200<<10)}}}
	for range 2 {
		if err := folder.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	bad := *m
	bad.To.Address = "b@example.org\r\nBcc: eve@example.org"
	var gone *email.NoSuchAddress
	if err := folder.Send(t.Context(), &bad); !errors.As(err, &gone) {
		t.Errorf("an address of two lines: %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "20300517T180000Z_x.1@example.org.eml" {
		t.Fatalf("files %v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() < 200<<10 {
		t.Errorf("%v of %d bytes, %v", info.Mode(), info.Size(), err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := folder.Send(t.Context(), m); err == nil {
		t.Error("a mail was written into a folder that is not there")
	}
}
