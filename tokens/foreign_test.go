package tokens_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/doorward/doorward/tokens"
	"github.com/golang-jwt/jwt/v5"
)

// foreignIssuer is an identity provider that is not ours: it publishes a JWKS and signs what it likes.
type foreignIssuer struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

func newForeignIssuer() *foreignIssuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	ring := tokens.NewKeyring(tokens.NewKey("f1", "ES256", key))
	return &foreignIssuer{httptest.NewServer(ring), key}
}

func (f *foreignIssuer) token(role string) string {
	signed := b64(`{"alg":"ES256","typ":"JWT","kid":"f1"}`) + "." + b64(fmt.Sprintf(
		`{"iss":"https://id.example.com","sub":"ann","aud":["billing","other"],"iat":%d,"exp":%d,"org_id":"acme","tier":"gold","realm_access":{"roles":[%s]}}`,
		time.Now().Unix(), time.Now().Add(time.Hour).Unix(), role))
	signature, err := jwt.SigningMethodES256.Sign(signed, f.key)
	if err != nil {
		panic(err)
	}
	return signed + "." + b64(string(signature))
}
