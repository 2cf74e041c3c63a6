package natsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
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

// How long certificates are valid, and how long before their end new ones are made.
const (
	AuthorityLife   = 10 * 365 * 24 * time.Hour
	CertificateLife = 2 * 365 * 24 * time.Hour
	RenewBefore     = 90 * 24 * time.Hour
)

// The listener for venues of an embedded server has a certificate of its own, and an authority that signs nothing else:
// DIR/tls/leaf.pem, DIR/tls/leaf-ca.pem. A venue gets the authority with its credentials. So the name in the certificate
// is a fixed one, whatever addresses and names the machine is reached by.
const (
	leafHost      = "leaf.starlight.internal"
	leafAuthority = "starlight venues"
)

// leafCertificate returns the certificate of the listener for venues. It is made on the first call, and anew before it
// ends; the authority stays.
func leafCertificate(dir string, now time.Time) (tls.Certificate, error) {
	certFile, keyFile := filepath.Join(dir, "tls", "leaf.pem"), filepath.Join(dir, "tls", "leaf.key")
	caFile, caKey := leafAuthorityFiles(dir)
	authority, key, err := Authority(caFile, caKey, leafAuthority, now)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("natsconf: the authority of the certificate for venues: %w", err)
	}
	have, _, err := ReadPair(certFile, keyFile) // a pair that was written by half is made anew
	if err != nil || !now.Add(RenewBefore).Before(have.NotAfter) || have.CheckSignatureFrom(authority) != nil {
		_, _, err = Certify(certFile, keyFile, &x509.Certificate{Subject: pkix.Name{CommonName: leafHost},
			DNSNames: []string{leafHost}, NotAfter: now.Add(CertificateLife), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, authority, key, now)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("natsconf: the certificate for venues: %w", err)
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return pair, fmt.Errorf("natsconf: the certificate for venues: %w", err)
	}
	return pair, nil
}

// hubAuthority returns the certificate of the authority that a venue knows the hub by, in PEM: that of auth init for
// outside servers, or else of the embedded one, which may not have listened for venues yet.
func hubAuthority(dir string, now time.Time) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(dir, "auth.conf")); err == nil {
		text, err := os.ReadFile(filepath.Join(dir, "tls", "ca.pem"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return text, err
	}
	certFile, keyFile := leafAuthorityFiles(dir)
	if _, _, err := Authority(certFile, keyFile, leafAuthority, now); err != nil {
		return nil, err
	}
	return os.ReadFile(certFile)
}

func leafAuthorityFiles(dir string) (certFile, keyFile string) {
	return filepath.Join(dir, "tls", "leaf-ca.pem"), filepath.Join(dir, "nats", "leaf-ca.key")
}

// authorities returns the certificates in a file of credentials; nil if there is none.
func authorities(text []byte) (pool *x509.CertPool, own bool) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return pool, own
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		if pool == nil {
			pool = x509.NewCertPool()
		}
		pool.AddCert(c)
		own = own || c.Subject.CommonName == leafAuthority
	}
}

// Authority returns an authority of certificates, which is made on the first call.
func Authority(certFile, keyFile, name string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	authority, key, err := ReadPair(certFile, keyFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return authority, key, err
	}
	return Certify(certFile, keyFile, &x509.Certificate{Subject: pkix.Name{CommonName: name},
		NotAfter: now.Add(AuthorityLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, nil, now)
}

// Certify makes a key and its certificate, signed by a parent or, without one, by itself, and writes them into PEM
// files that only the owner may read.
func Certify(certFile, keyFile string, c, parent *x509.Certificate, by *ecdsa.PrivateKey, now time.Time,
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
	}{{keyFile, pem.Block{Type: "PRIVATE KEY", Bytes: secret}}, {certFile, pem.Block{Type: "CERTIFICATE", Bytes: der}}} {
		if err := os.MkdirAll(filepath.Dir(file.path), 0o700); err != nil {
			return nil, nil, err
		}
		if err := writeFile(file.path, pem.EncodeToMemory(&file.block)); err != nil {
			return nil, nil, err
		}
	}
	made, err := x509.ParseCertificate(der)
	return made, key, err
}

// ReadPair reads a certificate and its key.
func ReadPair(certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
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
