package middleware

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

const (
	bindingLife    = 365 * 24 * time.Hour
	bindingLen     = 43  // 256 random bits in base64url
	maxBindingText = 128 // of a program's own secret
)

// A Binding is how a device shows that it is the one that a session was begun on: by a secret of 256 bits, of which
// sessions and tokens hold the hash. So an access or refresh token that was stolen alone, from a log, a backup or
// the memory of a page, is of no use elsewhere. It does not help against who can read the device's whole traffic or
// storage; that takes a key that never leaves it (DPoP, RFC 9449).
type Binding struct {
	// Cookie is where a browser keeps the secret, which no script can read; its Name is "binding" when empty.
	Cookie cookies.Policy
	// Header is where a program shows a secret of its own, 43 to 128 characters of base64url, for example
	// "X-Device-Secret". "" takes none.
	Header string
}

// BindDevice puts what the device shows into the request's context (auth.Bind), where RequireAuth, RefreshFromCookie
// and session.Start look for it. Put it outside of all of them. It refuses nobody: a token that is bound and whose
// device has shown nothing, or another secret, is refused by the guard, 401 token_invalid, also on a route that
// BindDevice was forgotten on. Tokens that are not bound pass as ever; see [RequireBinding].
//
// Two secrets in one request, or one that cannot be a secret, are 400.
func BindDevice(b Binding) Middleware { return b.middleware("BindDevice", false) }

// EnrolDevice is [BindDevice] for the route of a login: a browser that has no secret yet gets one, so that the
// session which the login begins is bound. A program brings its own.
func EnrolDevice(b Binding) Middleware { return b.middleware("EnrolDevice", true) }

func (b Binding) middleware(name string, enrol bool) Middleware {
	if b.Cookie.Name == "" {
		b.Cookie.Name = "binding"
	}
	strict := b.Cookie
	strict.InsecureLoopback = false // that one is judged by a real request
	if _, err := strict.Get(&http.Request{}); auth.CodeOf(err) != auth.CredentialsMissing {
		return broken(fmt.Sprintf("%s: the cookie: %v", name, err))
	}
	b.Header = http.CanonicalHeaderKey(b.Header)
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		secret, browser, err := b.read(r)
		if err != nil {
			return nil, err
		}
		if enrol && browser {
			if secret == "" {
				random := make([]byte, bindingLen*6/8)
				_, _ = rand.Read(random) // crypto/rand never fails
				secret = base64.RawURLEncoding.EncodeToString(random)
			}
			if err := b.Cookie.Set(w, r, secret, time.Now().Add(bindingLife)); err != nil {
				return nil, err
			}
		}
		if secret == "" {
			return r, nil
		}
		sum := sha256.Sum256([]byte(secret))
		return r.WithContext(auth.Bind(r.Context(), "device:"+base64.RawURLEncoding.EncodeToString(sum[:]))), nil
	})
}

// read returns the secret that r shows, "" for none, and whether it is for a browser to keep.
func (b *Binding) read(r *http.Request) (secret string, browser bool, err error) {
	value, err := b.Cookie.Get(r)
	switch {
	case err == nil && len(value) == bindingLen && isBase64URL(value):
		secret = value
	case err == nil, isMissing(err): // what we have not set is none
	case auth.CodeOf(err) == auth.TokenInvalid: // sealed under a key that this node does not know
	default:
		return "", false, err
	}
	var shown []string
	if b.Header != "" {
		shown = r.Header[b.Header]
	}
	switch {
	case len(shown) == 0:
		return secret, true, nil
	case len(shown) > 1 || secret != "":
		return "", false, fmt.Errorf("%w: more than one secret of a device", auth.RequestMalformed)
	case len(shown[0]) < bindingLen || len(shown[0]) > maxBindingText || !isBase64URL(shown[0]):
		return "", false, fmt.Errorf("%w: %s is no secret of %d to %d characters of base64url", auth.RequestMalformed, b.Header, bindingLen, maxBindingText)
	}
	return shown[0], false, nil
}

func isBase64URL(s string) bool {
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// RequireBinding lets a principal on whose credential is bound to the device that sent the request; one that is not
// bound gets 401 step_up_required, since a new login can be bound, and a request without a principal 401
// credentials_missing. It stands behind [RequireAuth], as [BindDevice] stands before it.
func RequireBinding() Middleware {
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		p, ok := auth.FromContext(r.Context())
		switch {
		case !ok:
			return nil, auth.CredentialsMissing
		case p.Binding == "":
			return nil, fmt.Errorf("%w: the credential is not bound to a device", auth.StepUpRequired)
		}
		return r, auth.CheckBinding(r.Context(), p)
	})
}
