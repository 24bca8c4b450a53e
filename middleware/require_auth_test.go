package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
)

// STD-H02, STD-H09: what is bad is refused by its own code, and no later authenticator is asked.
func TestRequireAuth_Refusals(t *testing.T) {
	guards := map[string]func(auth.Authenticator, ...auth.Authenticator) middleware.Middleware{ // made anew, as each bounds its lines
		"RequireAuth":  middleware.RequireAuth,
		"OptionalAuth": middleware.OptionalAuth,
	}
	for name, c := range map[string]struct {
		headers []string
		code    auth.Code
	}{
		"STD-H09 invalid":            {[]string{"Authorization: Bearer x"}, auth.TokenInvalid},
		"STD-H09 expired":            {[]string{"Authorization: Bearer expired"}, auth.TokenExpired},
		"revoked":                    {[]string{"Authorization: Bearer revoked"}, auth.TokenRevoked},
		"the list is down":           {[]string{"Authorization: Bearer down"}, auth.StoreUnavailable},
		"STD-H06 panic":              {[]string{"Authorization: Bearer panic"}, auth.Internal},
		"bad header, good cookie":    {[]string{"Authorization: Bearer x", "Cookie: access=ann"}, auth.TokenInvalid},
		"down header, good cookie":   {[]string{"Authorization: Bearer down", "Cookie: access=ann"}, auth.StoreUnavailable},
		"STD-H03 header and cookie":  {[]string{"Authorization: Bearer ann", "Cookie: access=ann"}, auth.RequestMalformed},
		"ATK-J25 two subjects":       {[]string{"Authorization: Bearer ann", "Cookie: access=bob"}, auth.RequestMalformed},
		"good header, bad cookie":    {[]string{"Authorization: Bearer ann", "Cookie: access=x"}, auth.RequestMalformed},
		"good header, list down":     {[]string{"Authorization: Bearer ann", "Cookie: access=down"}, auth.RequestMalformed},
		"good header, cookie panics": {[]string{"Authorization: Bearer ann", "Cookie: access=panic"}, auth.Internal},
		"ATK-J25 two Authorization":  {[]string{"Authorization: Bearer ann", "Authorization: Bearer ann"}, auth.RequestMalformed},
		"STD-H04 empty":              {[]string{"Authorization: Bearer "}, auth.RequestMalformed},
		"STD-H04 two in one":         {[]string{"Authorization: Bearer ann,Bearer bob"}, auth.RequestMalformed},
	} {
		for guard, m := range guards {
			t.Run(name+"/"+guard, func(t *testing.T) {
				log := captureLog(t)
				w := serve(m(bearer, browser)(whoami), request("GET", "/", c.headers...))
				want(t, w, c.code)
				if strings.Contains(w.Body.String(), "secret-cause") || strings.Contains(w.Body.String(), "10.1.2.3") {
					t.Errorf("the cause stands in the answer: %s", w.Body)
				}
				if c.code == auth.Internal && !strings.Contains(log.String(), "secret-cause") {
					t.Errorf("the cause is not in the log: %s", log)
				}
			})
		}
	}
}

// ATK-J25, STD-H03: a token in the query is 400 and never read, beside a good header too; one in a form body
// or in a WebSocket subprotocol is not read.
func TestATK_J25_TokenElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		code  auth.Code
	}{
		"query":              {"access_token=ann", auth.RequestMalformed},
		"query, later":       {"a=b&access_token=ann", auth.RequestMalformed},
		"query, no value":    {"access_token", auth.RequestMalformed},
		"query, encoded":     {"access%5ftoken=ann", auth.RequestMalformed},
		"query, encoded all": {"%61%63%63%65%73%73%5F%74%6f%6b%65%6e=ann", auth.RequestMalformed},
		"query, semicolon":   {"a=b;access_token=ann", auth.RequestMalformed},
		"query, twice":       {"access_token=ann&access_token=bob", auth.RequestMalformed},
		"another parameter":  {"my_access_token=1&access_tokens=2&x=access_token&%zz=1", auth.CredentialsMissing},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, serve(middleware.RequireAuth(bearer)(whoami), request("GET", "/?"+c.query)), c.code)
			if c.code == auth.RequestMalformed {
				want(t, serve(middleware.OptionalAuth(bearer)(whoami), request("GET", "/?"+c.query)), c.code)
				want(t, serve(middleware.RequireAuth(bearer)(whoami), request("GET", "/?"+c.query, "Authorization: Bearer ann")), c.code)
			} else {
				want(t, serve(middleware.RequireAuth(bearer)(whoami), request("GET", "/?"+c.query, "Authorization: Bearer ann")), "")
			}
		})
	}
	t.Run("form body", func(t *testing.T) {
		r := request("POST", "/", "Content-Type: application/x-www-form-urlencoded")
		body := &counter{Reader: strings.NewReader("access_token=ann")}
		r.Body = body
		want(t, serve(middleware.RequireAuth(bearer, browser)(whoami), r), auth.CredentialsMissing)
		if body.reads != 0 {
			t.Error("the body was read")
		}
	})
	t.Run("WebSocket subprotocol", func(t *testing.T) {
		r := request("GET", "/", "Upgrade: websocket", "Sec-WebSocket-Protocol: bearer, ann")
		want(t, serve(middleware.RequireAuth(bearer, browser)(whoami), r), auth.CredentialsMissing)
	})
}

type counter struct {
	*strings.Reader
	reads int
}

func (c *counter) Read(p []byte) (int, error) { c.reads++; return c.Reader.Read(p) }
func (c *counter) Close() error               { return nil }

// A principal that stands in the context already proves nothing.
func TestRequireAuth_NeverTrustsTheContext(t *testing.T) {
	root := &auth.Principal{Subject: "root", Roles: []string{"admin"}}
	want(t, serve(middleware.RequireAuth(bearer)(whoami), as(request("GET", "/"), root)), auth.CredentialsMissing)
	w := serve(middleware.RequireAuth(bearer)(whoami), as(request("GET", "/", "Authorization: Bearer ann"), root))
	if want(t, w, ""); w.Body.String() != "ann" {
		t.Errorf("got %s, want the one that was proven", w.Body)
	}
	w = serve(middleware.OptionalAuth(bearer)(whoami), as(request("GET", "/"), root))
	if want(t, w, ""); w.Body.String() != "nobody" {
		t.Errorf("got %s: OptionalAuth passed on a principal that it did not prove", w.Body)
	}
}

func TestRequireAuth_AsksInTurn(t *testing.T) {
	h := middleware.RequireAuth(bearer, browser)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		if ambient := r.Header.Get("Cookie") != ""; p.Ambient != ambient {
			t.Errorf("Ambient is %v, want %v", p.Ambient, ambient)
		}
		whoami(w, r)
	}))
	for name, c := range map[string]struct{ header, subject string }{
		"first":                {"Authorization: Bearer ann", "ann"},
		"STD-H04 lower case":   {"Authorization: bearer ann", "ann"},
		"STD-H04 upper case":   {"Authorization: BEARER ann", "ann"},
		"second":               {"Cookie: access=bob", "bob"},
		"no credential of its": {"X-Other: 1", ""},
		"another scheme":       {"Authorization: Basic YTpi", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(h, request("GET", "/", c.header))
			if c.subject == "" {
				want(t, w, auth.CredentialsMissing)
				return
			}
			if want(t, w, ""); w.Body.String() != c.subject {
				t.Errorf("got %s, want %s", w.Body, c.subject)
			}
		})
	}
}

// STD-H07, ATK-S14: what was made for a principal is for no cache, unless the handler says so; what
// OptionalAuth lets be cached varies on where a credential would be.
func TestSTD_H07_Caching(t *testing.T) {
	public := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "max-age=60") })
	adds := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Add("Cache-Control", "private") })
	const ann = "Authorization: Bearer ann"
	for name, c := range map[string]struct {
		m       middleware.Middleware
		h       http.Handler
		header  string
		control string
		vary    string
	}{
		"required":             {middleware.RequireAuth(bearer), whoami, ann, "no-store", ""},
		"required, refused":    {middleware.RequireAuth(bearer), whoami, "X-Other: 1", "no-store", ""},
		"required, overridden": {middleware.RequireAuth(bearer), public, ann, "max-age=60", ""},
		"required, added to":   {middleware.RequireAuth(bearer), adds, ann, "no-store private", ""},
		"required, again":      {middleware.RequireAuth(bearer), whoami, ann, "no-store", ""},
		"optional, somebody":   {middleware.OptionalAuth(bearer), whoami, ann, "no-store", "Cookie, Authorization"},
		"optional, nobody":     {middleware.OptionalAuth(bearer), public, "X-Other: 1", "max-age=60", "Cookie, Authorization"},
		"optional, refused":    {middleware.OptionalAuth(bearer), whoami, "Authorization: Bearer x", "no-store", "Cookie, Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // twice: the first answer must not have changed the shared value
				w := serve(c.m(c.h), request("GET", "/", c.header))
				if got := strings.Join(w.Header()["Cache-Control"], " "); got != c.control {
					t.Errorf("Cache-Control: got %q, want %q", got, c.control)
				}
				if got := w.Header().Get("Vary"); got != c.vary {
					t.Errorf("Vary: got %q, want %q", got, c.vary)
				}
			}
		})
	}
}

// A panic that means "drop the connection" stays one.
func TestRequireAuth_AbortHandler(t *testing.T) {
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("http.ErrAbortHandler was swallowed")
		}
	}()
	abort := authFunc(func(*http.Request) (*auth.Principal, error) { panic(http.ErrAbortHandler) })
	serve(middleware.RequireAuth(abort)(whoami), request("GET", "/"))
}

// The warm path of a guarded request: the principal's copy, the context's value, the request.
func TestRequireAuth_Allocations(t *testing.T) {
	for name, c := range map[string]struct {
		m middleware.Middleware
		r *http.Request
	}{
		"RequireAuth":            {middleware.RequireAuth(oneAllocation{}), request("GET", "/?page=2")},
		"RequireAuth, two kinds": {middleware.RequireAuth(nothing{}, oneAllocation{}, nothing{}), request("GET", "/")},
		"OptionalAuth, nobody":   {middleware.OptionalAuth(nothing{}), request("GET", "/")},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.m(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			w := discard{http.Header{}}
			got := testing.AllocsPerRun(100, func() {
				clear(w.header)
				h.ServeHTTP(w, c.r)
			})
			if got > 3 {
				t.Errorf("got %v allocations, at most 3", got)
			}
		})
	}
}

// oneAllocation is as good as a warm cache: it allocates the principal's copy.
type oneAllocation struct{}

func (oneAllocation) Authenticate(*http.Request) (*auth.Principal, error) {
	return &auth.Principal{Subject: "ann", Session: "sid-ann"}, nil
}

type nothing struct{}

func (nothing) Authenticate(*http.Request) (*auth.Principal, error) {
	return nil, auth.CredentialsMissing
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
