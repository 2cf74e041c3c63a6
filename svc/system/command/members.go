package command

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/svc/system"
)

// How long certificates are valid, and how long before their end auth init makes new ones.
const (
	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 2 * 365 * 24 * time.Hour
	renewBefore     = 90 * 24 * time.Hour
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
	authority, key, err := readPair(filepath.Join(dir, "tls", "ca.pem"), filepath.Join(dir, "nats", "ca.key"))
	if errors.Is(err, fs.ErrNotExist) {
		authority, key, err = certify(dir, "ca.pem", filepath.Join("..", "nats", "ca.key"), &x509.Certificate{
			Subject: pkix.Name{CommonName: "starlight"}, NotAfter: now.Add(authorityLife), IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil, now)
	}
	if err != nil {
		return fmt.Errorf("the authority of certificates: %w", err)
	}
	have, _, err := readPair(filepath.Join(dir, "tls", "server.pem"), filepath.Join(dir, "tls", "server.key"))
	if err == nil && now.Add(renewBefore).Before(have.NotAfter) && have.CheckSignatureFrom(authority) == nil &&
		!slices.ContainsFunc(hosts, func(h string) bool { return have.VerifyHostname(h) != nil }) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the certificate of the servers: %w", err)
	}
	server := &x509.Certificate{Subject: pkix.Name{CommonName: "starlight servers"}, NotAfter: now.Add(certificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}} // of each other
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, h)
		}
	}
	if _, _, err := certify(dir, "server.pem", "server.key", server, authority, key, now); err != nil {
		return fmt.Errorf("the certificate of the servers: %w", err)
	}
	return nil
}

// certify makes a key and its certificate, signed by a parent or, without one, by itself, and writes them into tls/.
func certify(dir, certFile, keyFile string, c, parent *x509.Certificate, by *ecdsa.PrivateKey, now time.Time,
) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, by = c, key
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, nil, err
	}
	c.NotBefore = now.Add(-time.Hour) // clocks disagree
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := replace(filepath.Join(dir, "tls", name), pem.EncodeToMemory(block)); err != nil {
			return nil, nil, err
		}
	}
	made, err := x509.ParseCertificate(der)
	return made, key, err
}

// readPair reads a certificate and its key.
func readPair(certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	var blocks [2]*pem.Block
	for i, path := range []string{certFile, keyFile} {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		if blocks[i], _ = pem.Decode(text); blocks[i] == nil {
			return nil, nil, fmt.Errorf("%s is no PEM file", path)
		}
	}
	c, err := x509.ParseCertificate(blocks[0].Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(blocks[1].Bytes)
	if err != nil {
		return nil, nil, err
	}
	own, ok := key.(*ecdsa.PrivateKey)
	if !ok || !own.PublicKey.Equal(c.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s", keyFile, certFile)
	}
	return c, own, nil
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
