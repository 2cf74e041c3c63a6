package command

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/natsconf/certificate"
	"github.com/starlightsymphony/starlight/svc/system"
)

// members writes, below a folder that auth init has filled, a folder for each member of a cluster with what it needs
// and nothing else: members/ROLE, servers/nats and servers/postgres. The keys that sign stay in nats/.
func members(dir string, hosts []string, now time.Time) error {
	if err := certificates(dir, hosts, now); err != nil {
		return err
	}
	files := map[string]string{ // to, from
		"servers/nats/auth.conf": "auth.conf", "servers/nats/secure.conf": "secure.conf",
		"servers/nats/tls/server.pem": "tls/server.pem", "servers/nats/tls/server.key": "tls/server.key",
		"servers/nats/tls/ca.pem":     "tls/ca.pem",
		"servers/postgres/server.pem": "tls/server.pem", "servers/postgres/server.key": "tls/server.key",
		"members/ops/ops.creds": "creds/ops.creds", "members/ops/ca.pem": "tls/ca.pem",
	}
	for _, role := range system.Names() {
		for _, name := range []string{role, "node"} {
			files["members/"+role+"/"+name+".creds"] = "creds/" + name + ".creds"
		}
		files["members/"+role+"/ca.pem"] = "tls/ca.pem"
	}
	for to, from := range files {
		data, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(dir, to), data); err != nil {
			return err
		}
	}
	return nil
}

// certificates makes the authority of a cluster's certificates and the certificate of its servers, where they are
// missing, end soon, or lack a host.
func certificates(dir string, hosts []string, now time.Time) error {
	caFile, caKey := filepath.Join(dir, "tls", "ca.pem"), filepath.Join(dir, "nats", "ca.key")
	authority, key, err := certificate.Authority(caFile, caKey, "starlight", now)
	if err != nil {
		return fmt.Errorf("the authority of certificates: %w", err)
	}
	have, _, err := certificate.Read(filepath.Join(dir, "tls", "server.pem"), filepath.Join(dir, "tls", "server.key"))
	if err == nil && now.Add(certificate.RenewBefore).Before(have.NotAfter) &&
		have.CheckSignatureFrom(authority) == nil &&
		!slices.ContainsFunc(hosts, func(h string) bool { return have.VerifyHostname(h) != nil }) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the certificate of the servers: %w", err)
	}
	server := &x509.Certificate{Subject: pkix.Name{CommonName: "starlight servers"},
		NotAfter: now.Add(certificate.Life), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}} // of each other
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, h)
		}
	}
	certFile, keyFile := filepath.Join(dir, "tls", "server.pem"), filepath.Join(dir, "tls", "server.key")
	_, _, err = certificate.New(certFile, keyFile, server, authority, key, now)
	if err != nil {
		return fmt.Errorf("the certificate of the servers: %w", err)
	}
	return nil
}

// replace writes a file as a whole, and the folders above it. Only the owner may read them.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is left to remove after the rename
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
