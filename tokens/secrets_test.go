package tokens_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/doorward/doorward/tokens"
)

// whyBad is why a keyring does not take the key, "" when it does.
func whyBad(k tokens.Key) string {
	if err := tokens.RingErr(tokens.NewKeyring(tokens.FromSecret(rootSecret), k)); err != nil {
		return err.Error()
	}
	return ""
}

// wantBad demands that a key is refused with these words, and that no form of the secret is among them.
func wantBad(t *testing.T, k tokens.Key, words string, secret []byte) {
	t.Helper()
	why := whyBad(k)
	if why == "" {
		t.Fatal("the key was taken")
	}
	if !strings.Contains(why, words) {
		t.Errorf("got %q, expected words like %q", why, words)
	}
	if len(secret) > 3 && (strings.Contains(why, string(secret)) || strings.Contains(why, fmt.Sprintf("%x", secret))) {
		t.Errorf("the reason shows the secret: %q", why)
	}
	_, err := tokens.New(tokens.Config{Keys: tokens.NewKeyring(k), Issuer: issuer, Audience: audience})
	if err == nil {
		t.Error("New took a ring that signs with the key")
	}
}

func distinct(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i*i)
	}
	return b
}

// No signer and no verifier can be had with a secret that is short, a filler or in the documentation.
func TestSTD_T05_ATK_J03_WeakSecrets(t *testing.T) {
	for _, c := range []struct {
		name   string
		secret []byte
		words  string
	}{
		{"nil", nil, "got a secret of 0 bytes, expected 32"},
		{"empty", []byte{}, "got a secret of 0 bytes, expected 32"},
		{"one byte", []byte("x"), "got a secret of 1 bytes, expected 32"},
		{"31 bytes", distinct(31), "got a secret of 31 bytes, expected 32"},
		{"zeros", make([]byte, 64), "repeats itself"},
		{"seven different bytes", []byte("abcdefgaabcdefgabbcdefgabccdefgabcddefg"), "repeats itself"},
		{"a word again and again", []byte("changeme-changeme-changeme-changeme"), "repeats itself"},
		{"jwt.io", []byte("a-string-secret-at-least-256-bits-long"), "documentation"},
		{"jwt.io with a newline", []byte("a-string-secret-at-least-256-bits-long\n"), "documentation"},
		{"FastAPI", []byte("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"), "documentation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantBad(t, tokens.FromSecret(c.secret), c.words, c.secret)
			wantBad(t, tokens.HS256("k", c.secret), c.words, c.secret)
			wantBad(t, tokens.NewKey("k", "HS256", c.secret), c.words, c.secret)
		})
	}
	for alg, size := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		t.Run(alg, func(t *testing.T) {
			wantBad(t, tokens.NewKey("k", alg, distinct(size-1)), fmt.Sprintf("got a secret of %d bytes, expected %d", size-1, size), nil)
			if why := whyBad(tokens.NewKey("k", alg, distinct(size))); why != "" {
				t.Error(why)
			}
		})
	}
}

// An HMAC key never has the bytes of a public key, in whatever spelling.
func TestSTD_T03_ATK_J02_PublicKeyAsSecret(t *testing.T) {
	public := &rsa2048().PublicKey
	pkix := must(x509.MarshalPKIXPublicKey(public))
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ed := must(tokens.GenerateKey("EdDSA"))
	cert := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, public, rsa2048()))
	for _, c := range []struct {
		name   string
		secret []byte
	}{
		{"PEM", text},
		{"PEM without its last newline", bytes.TrimRight(text, "\n")},
		{"PEM after white space", append([]byte(" \r\n"), text...)},
		{"PEM without its first and last line", bytes.Join(bytes.Split(bytes.TrimSpace(text), []byte("\n"))[1:8], []byte("\n"))},
		{"DER PKIX", pkix},
		{"DER PKIX in base64", []byte(base64.StdEncoding.EncodeToString(pkix))},
		{"DER PKIX in base64url", []byte(base64.RawURLEncoding.EncodeToString(pkix))},
		{"DER PKCS1", x509.MarshalPKCS1PublicKey(public)},
		{"DER PKIX of an EC key", must(x509.MarshalPKIXPublicKey(&ec.PublicKey))},
		{"DER of a certificate", cert},
		{"DER of a private key", x509.MarshalPKCS1PrivateKey(rsa2048())},
		{"DER of a private EC key", must(x509.MarshalECPrivateKey(ec))},
		{"DER PKCS8", must(x509.MarshalPKCS8PrivateKey(ec))},
		{"JWK set", publicJWKS(t, tokens.NewKeyring(ed))},
		{"JWK", []byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)},
		{"SSH", []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFJm8Qr1 ann@example.com")},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantBad(t, tokens.HS256("k", c.secret), "public keys are no secrets", nil)
			wantBad(t, tokens.FromSecret(c.secret), "public keys are no secrets", nil)
		})
	}
	for name, material := range map[string]any{
		"rsa.PublicKey": public, "ecdsa.PublicKey": &ec.PublicKey, "ed25519.PublicKey": ed25519.PublicKey(distinct(32)), "string": string(distinct(32)),
	} {
		t.Run(name, func(t *testing.T) {
			wantBad(t, tokens.NewKey("k", "HS256", material), "expected []byte", nil)
		})
	}
}
