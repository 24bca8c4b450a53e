package tokens

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/doorward/doorward/auth"
)

// ServeHTTP answers GET and HEAD with the public keys of the ring as a JWK set (RFC 7517 section 5), for
// a path such as /.well-known/jwks.json. A secret key is never part of it, nor a key whose window is over;
// one whose window has not begun is, so that others know it in time. Caches may keep the set for 5 minutes:
// wait at least that long, and the others' own refresh, between adding a key and signing with it.
func (k *Keyring) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Nothing here is to be shown or sniffed. WriteProblem sets the same for the other answers.
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		// No refusal of ours, so no code of package auth: the plain form of RFC 9457 section 4.2.1.
		h.Set("Allow", "GET, HEAD")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = io.WriteString(w, `{"type":"about:blank","title":"Method Not Allowed","status":405}`)
		return
	}
	if err := k.err(); err != nil {
		auth.WriteProblem(w, err)
		return
	}
	if k.remote != nil {
		auth.WriteProblem(w, fmt.Errorf("%w: tokens: the keys of this ring are another service's to publish", auth.NotFound))
		return
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, key := range k.state.Load().published(time.Now()) {
		set.Keys = append(set.Keys, key.publicJWK())
	}
	body, err := json.Marshal(set)
	if err != nil {
		auth.WriteProblem(w, errors.Join(auth.Internal, err))
		return
	}
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
