package cookies

import (
	"errors"
	"net/http"
	"time"

	"github.com/doorward/doorward/auth"
)

// A Jar is how the two cookies of a session are set, read and expired. The zero value is the strict
// setting: __Host-access and __Host-refresh, Secure, HttpOnly, SameSite=Lax, Path=/.
//
// Its fields mean what they mean in [Policy]. A Jar has no Path: sessions are refreshed in front of any route, and
// browsers take the prefix __Host- with the path "/" alone, which keeps subdomains from setting the same cookie. Read
// the access token with
//
//	auth.Cookie(jar.Access, tok)
type Jar struct {
	Name              string        // "shop" makes it __Host-shop-access and __Host-shop-refresh
	SameSite          http.SameSite // 0 is Lax
	InsecureCrossSite bool          // SameSite=None; Partitioned: demands middleware.RequireCSRF on every route that reads the jar. After a switch users log in anew
	InsecureLoopback  bool          // development over http on a loopback host
	Seal              Seal          // encrypts both values
}

// Set sets the session's cookies; see [Policy.Set] for what it refuses. After an error none was set.
//
// Both live until p.RefreshUntil, so that an expired access token still arrives and is answered with
// [auth.TokenExpired], "refresh", instead of "log in". A pair with one token sets that cookie alone: the access
// cookie until p.AccessExpires, the refresh cookie (of a page that keeps the access token in memory) until
// p.RefreshUntil. The other one is expired if the request carries it: it belongs to an earlier session, perhaps
// another user's, and must not bring that back. The zero time means until the browser closes.
func (j Jar) Set(w http.ResponseWriter, r *http.Request, p *auth.Pair) error {
	if p == nil {
		return errors.New("cookies: Set was given a nil pair")
	}
	access, refresh := j.policies()
	switch {
	case p.Refresh == "":
		return setAlone(w, r, &access, p.Access, p.AccessExpires, &refresh)
	case p.Access == "":
		return setAlone(w, r, &refresh, p.Refresh, p.RefreshUntil, &access)
	}
	first, err := access.cookie(r, p.Access, p.RefreshUntil)
	if err != nil {
		return err
	}
	second, err := refresh.cookie(r, p.Refresh, p.RefreshUntil)
	if err != nil {
		return err
	}
	put(w.Header(), first, second)
	return nil
}

// setAlone sets one cookie, and expires the other where the request carries it.
func setAlone(w http.ResponseWriter, r *http.Request, one *Policy, value string, until time.Time, other *Policy) error {
	set, err := one.cookie(r, value, until)
	if err != nil {
		return err
	}
	f, err := other.form(r)
	if err != nil {
		return err
	}
	put(w.Header(), set)
	if value, fault := f.find(r); value != "" || fault != "" {
		put(w.Header(), f.expired(r)...)
	}
	return nil
}

// Clear expires both cookies in the browser. It ends no session: a copy of a token is good until the
// session is revoked.
func (j Jar) Clear(w http.ResponseWriter, r *http.Request) error {
	expired, err := j.expired(r)
	if err != nil {
		return err
	}
	put(w.Header(), expired...)
	return nil
}

// Access returns the access token; see [Policy.Get] for its errors. A malformed one expires both cookies.
func (j Jar) Access(r *http.Request) (string, error) {
	access, _ := j.policies()
	return j.get(&access, r)
}

// Refresh returns the refresh token; see [Policy.Get] for its errors. A malformed one expires both cookies.
func (j Jar) Refresh(r *http.Request) (string, error) {
	_, refresh := j.policies()
	return j.get(&refresh, r)
}

func (j *Jar) get(p *Policy, r *http.Request) (string, error) {
	f, err := p.form(r)
	if err != nil {
		return "", err
	}
	value, fault := f.find(r)
	if fault != "" {
		expired, err := j.expired(r)
		if err != nil {
			return "", err
		}
		return "", &malformed{fault, expired}
	}
	return p.open(&f, r, value)
}

func (j *Jar) expired(r *http.Request) ([]*http.Cookie, error) {
	access, refresh := j.policies()
	a, err := access.form(r)
	if err != nil {
		return nil, err
	}
	b, err := refresh.form(r)
	if err != nil {
		return nil, err
	}
	return append(a.expired(r), b.expired(r)...), nil
}

// policies returns those of the access and the refresh cookie.
func (j *Jar) policies() (access, refresh Policy) {
	access = Policy{
		Name: "access", SameSite: j.SameSite, InsecureCrossSite: j.InsecureCrossSite,
		InsecureLoopback: j.InsecureLoopback, Seal: j.Seal,
	}
	refresh = access
	refresh.Name = "refresh"
	if j.Name != "" {
		access.Name, access.suffix = j.Name, "-access"
		refresh.Name, refresh.suffix = j.Name, "-refresh"
	}
	return access, refresh
}
