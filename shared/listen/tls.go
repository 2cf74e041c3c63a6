package listen

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// TLS wraps a listener so that it speaks TLS 1.2 or newer with a certificate from PEM files. A renewed certificate is
// picked up within a few seconds of being written; one that cannot be read is logged, and the old one stays.
func TLS(ln net.Listener, certFile, keyFile string, log *slog.Logger) (net.Listener, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: c.get}), nil
}

type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	written time.Time // modification time of the newer file
	checked time.Time
}

// checkEvery is how long files are taken to be unchanged.
const checkEvery = 5 * time.Second

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < checkEvery {
		return c.current, nil
	}
	c.checked = time.Now()
	if written, err := c.modified(); err == nil && written.Equal(c.written) {
		return c.current, nil
	}
	if err := c.load(); err != nil {
		c.log.Warn("the new TLS certificate cannot be used, the old one stays", "error", err)
	}
	return c.current, nil
}

// load reads the files. The caller holds mu, or is alone.
func (c *certificate) load() error {
	written, err := c.modified()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current, c.written = &pair, written
	return nil
}

func (c *certificate) modified() (time.Time, error) {
	cert, err := os.Stat(c.certFile)
	if err != nil {
		return time.Time{}, err
	}
	key, err := os.Stat(c.keyFile)
	if err != nil {
		return time.Time{}, err
	}
	if key.ModTime().After(cert.ModTime()) {
		return key.ModTime(), nil
	}
	return cert.ModTime(), nil
}
