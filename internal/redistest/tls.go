package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// StartTLS is [Start] for a server that speaks TLS alone, under an authority made for it. It asks clients for a
// certificate and does not demand one; with "--tls-auth-clients", "yes" it does. What Client returns trusts
// the authority and shows a certificate of it.
func StartTLS(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), tls: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1", RootCAs: x509.NewCertPool(),
	}}
	authority := newCertificate(t, "authority", nil)
	server := newCertificate(t, "server", authority)
	client := newCertificate(t, "client", authority)
	s.tls.RootCAs.AddCert(authority.Leaf)
	s.tls.Certificates = []tls.Certificate{*client}

	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(s.dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s.args = append([]string{
		"--tls-cert-file", write("server.pem", "CERTIFICATE", server.Leaf.Raw),
		"--tls-key-file", write("server.key", "PRIVATE KEY", key),
		"--tls-ca-cert-file", write("authority.pem", "CERTIFICATE", authority.Leaf.Raw),
		"--tls-auth-clients", "optional",
	}, args...)
	return start(s)
}

// TLS returns what a client of the server needs: the authority to trust and a certificate to show. It is nil
// for a server without TLS, and the caller's own.
func (s *Server) TLS() *tls.Config { return s.tls.Clone() }

// newCertificate makes a certificate signed by the authority, or without one an authority, good for an hour.
func newCertificate(t testing.TB, name string, authority *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "redistest " + name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, key
	if authority == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, signer = authority.Leaf, authority.PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
