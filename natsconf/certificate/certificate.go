// Package certificate makes the certificates of servers, and authorities that sign them, as PEM files.
package certificate

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
	"os"
	"path/filepath"
	"time"
)

// How long certificates are valid, and how long before its end one of a server is made anew.
const (
	Life        = 2 * 365 * 24 * time.Hour
	RenewBefore = 90 * 24 * time.Hour

	authorityLife = 10 * 365 * 24 * time.Hour
)

// Authority returns an authority of certificates, which is made on the first call.
func Authority(certFile, keyFile, name string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	authority, key, err := Read(certFile, keyFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return authority, key, err
	}
	return New(certFile, keyFile, &x509.Certificate{Subject: pkix.Name{CommonName: name},
		NotAfter: now.Add(authorityLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, nil, now)
}

// New makes a key and its certificate, signed by a parent or, without one, by itself, and writes them into PEM
// files that only the owner may read.
func New(certFile, keyFile string, c, parent *x509.Certificate, by *ecdsa.PrivateKey, now time.Time,
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
	// The key is first: a certificate without one is not made again.
	for _, file := range []struct {
		path  string
		block pem.Block
	}{{keyFile, pem.Block{Type: "PRIVATE KEY", Bytes: secret}},
		{certFile, pem.Block{Type: "CERTIFICATE", Bytes: der}}} {
		if err := write(file.path, pem.EncodeToMemory(&file.block)); err != nil {
			return nil, nil, err
		}
	}
	made, err := x509.ParseCertificate(der)
	return made, key, err
}

// Read reads a certificate and its key.
func Read(certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
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

// write writes a file as a whole, and the folders above it. Only the owner may read them.
func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is left to remove after the rename
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
