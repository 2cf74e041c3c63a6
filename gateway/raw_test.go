package gateway_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/listen"
)

// send writes bytes to a new connection and returns all responses until the server closes it or falls silent.
func send(t *testing.T, d *door, text string) []*http.Response {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	var all []*http.Response
	for r := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return all
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		all = append(all, resp)
	}
}

// A proxy in front that reads a request's length in another way than we do would let one client put a request before
// another's. Whatever is ambiguous must be refused, and what follows it must not be served.
func TestSmuggling(t *testing.T) {
	d := open(t)
	const hidden = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	chunked := "0\r\n\r\n"
	for name, text := range map[string]string{
		"length and chunks":        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + hidden,
		"chunks and length":        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunked + hidden,
		"two lengths":              "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n" + hidden,
		"two lengths, other order": "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 35\r\nContent-Length: 0\r\n\r\n" + hidden,
		"signed length":            "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n" + hidden,
		"negative length":          "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" + hidden,
		"unknown coding":           "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n" + chunked + hidden,
		"space before the colon":   "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n" + chunked + hidden,
		"bad chunk size":           "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + hidden,
	} {
		responses := send(t, d, text)
		for i, r := range responses {
			if r.StatusCode < 400 {
				t.Errorf("%s: response %d is %d", name, i+1, r.StatusCode)
			}
		}
		if len(responses) == 0 {
			t.Errorf("%s: no response", name)
		}
	}
	if got := send(t, d, hidden+hidden); len(got) != 2 || got[1].StatusCode != 200 {
		t.Errorf("two honest requests got %d responses", len(got))
	}
}

func TestMalformedRequests(t *testing.T) {
	d := open(t)
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"not HTTP":            {"hello\r\n\r\n", 400},
		"header line folding": {"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", 400},
		"folding by a tab":    {"GET /healthz HTTP/1.1\r\nX-A: b\r\n\tc\r\nHost: x\r\n\r\n", 400},
		"lines without CR":    {"GET /healthz HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", 400},
		"no CR at the end":    {"GET /healthz HTTP/1.1\r\nHost: x\r\n\n", 400},
		"a version to come":   {"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 400},
		"many headers":        {"GET /healthz HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 1500) + "\r\n", 400},
		"a huge header":       {"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 20<<10) + "\r\n\r\n", 413},
		"a huge address":      {"GET /v1/events?q=" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 413},
		"a huge length":       {"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{", 413},
		"raw bytes in query":  {"GET /v1/events?q=\xff\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	} {
		got := send(t, d, c.text)
		if len(got) != 1 {
			t.Errorf("%s: %d responses", name, len(got))
			continue
		}
		r := got[0]
		if c.status != 0 && (r.StatusCode != c.status || r.Header.Get("Content-Type") != "application/problem+json") || r.StatusCode >= 500 {
			t.Errorf("%s: %d %s, want %d", name, r.StatusCode, r.Header.Get("Content-Type"), c.status)
		}
	}
}

// As many headers as a browser and some proxies send are fine.
func TestManyHeaders(t *testing.T) {
	d := open(t)
	if got := send(t, d, "GET /healthz HTTP/1.0\r\nHost: x\r\n"+strings.Repeat("A: b\r\n", 99)+"\r\n"); len(got) != 1 || got[0].StatusCode != 200 {
		t.Errorf("%+v", got)
	}
}

// Behind a proxy that speaks TLS, browsers are told to stay with it; by others that say so they are not.
func TestHSTSBehindAProxy(t *testing.T) {
	for proxy, want := range map[string]bool{"127.0.0.0/8": true, "192.0.2.0/24": false} {
		d := open(t, func(cfg *gateway.Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(proxy)} })
		for proto, secure := range map[string]bool{"https": want, "http": false} {
			got := send(t, d, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: "+proto+"\r\n\r\n")
			if len(got) != 1 || (got[0].Header.Get("Strict-Transport-Security") != "") != secure {
				t.Errorf("a proxy in %s says %s: %+v", proxy, proto, got)
			}
		}
	}
}

func TestTLS(t *testing.T) {
	d := open(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := writeCertificate(t, certFile, keyFile)
	address := d.listen(func(ln net.Listener) net.Listener {
		secure, err := listen.TLS(ln, certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return secure
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.TLS.Version < tls.VersionTLS12 || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%d, TLS %x, %v", resp.StatusCode, resp.TLS.Version, resp.Header)
	}
	if c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		c.Close()
		t.Error("TLS 1.1 was accepted")
	}
	if _, err := listen.TLS(nil, certFile, certFile, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a certificate without its key was accepted")
	}
}

func writeCertificate(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	return pool
}
