package middleware_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
)

var (
	deviceSecret = strings.Repeat("s", 43)
	otherSecret  = strings.Repeat("o", 43)
)

func bindingOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "device:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// shown answers with the binding that the handler sees.
var shown = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte(auth.BindingOf(r.Context())))
})

func TestBindDevice(t *testing.T) {
	b := middleware.Binding{Header: "x-device-secret"}
	const header, cookie = "X-Device-Secret: ", "Cookie: __Host-binding="
	for _, c := range []struct {
		name    string
		headers []string
		code    auth.Code
		binding string
	}{
		{"nothing", nil, "", ""},
		{"a header", []string{header + deviceSecret}, "", bindingOf(deviceSecret)},
		{"a long one", []string{header + strings.Repeat("Aa0-_", 25)}, "", bindingOf(strings.Repeat("Aa0-_", 25))},
		{"a cookie", []string{cookie + deviceSecret}, "", bindingOf(deviceSecret)},
		{"another cookie's value", []string{cookie + "short"}, "", ""},
		{"a cookie that is too long", []string{cookie + deviceSecret + "s"}, "", ""},
		{"the spelling of the prefix", []string{"Cookie: __host-binding=" + deviceSecret}, "", ""},
		{"both", []string{header + deviceSecret, cookie + deviceSecret}, auth.RequestMalformed, ""},
		{"two headers", []string{header + deviceSecret, header + deviceSecret}, auth.RequestMalformed, ""},
		{"ATK-C06 two cookies", []string{cookie + deviceSecret + "; __Host-binding=" + otherSecret}, auth.RequestMalformed, ""},
		{"a short header", []string{header + deviceSecret[1:]}, auth.RequestMalformed, ""},
		{"a header of 129", []string{header + strings.Repeat("s", 129)}, auth.RequestMalformed, ""},
		{"an empty header", []string{header}, auth.RequestMalformed, ""},
		{"another alphabet", []string{header + strings.Repeat("+", 43)}, auth.RequestMalformed, ""},
		{"the binding itself, which a token shows", []string{header + bindingOf(deviceSecret)}, auth.RequestMalformed, ""},
	} {
		for name, m := range map[string]middleware.Middleware{"BindDevice": middleware.BindDevice(b), "EnrolDevice": middleware.EnrolDevice(b)} {
			w := serve(m(shown), request("POST", "/", c.headers...))
			if c.code != "" {
				if w.Code != c.code.Status() || problemCode(t, w.Body.Bytes()) != c.code {
					t.Errorf("%s: %s: got %d %s", name, c.name, w.Code, w.Body)
				}
				continue
			}
			set := w.Result().Cookies()
			switch got := w.Body.String(); {
			case name == "BindDevice" && (got != c.binding || len(set) > 0):
				t.Errorf("%s: got %q and %d cookies, expected %q", c.name, got, len(set), c.binding)
			case name == "EnrolDevice" && c.binding != "" && got != c.binding:
				t.Errorf("%s: enrolled as %q, expected %q", c.name, got, c.binding)
			case name == "EnrolDevice" && len(c.headers) > 0 && strings.HasPrefix(c.headers[0], header):
				if len(set) > 0 {
					t.Errorf("%s: a program got a cookie", c.name)
				}
			case name == "EnrolDevice":
				if len(set) != 1 || bindingOf(set[0].Value) != got || set[0].Name != "__Host-binding" || !set[0].HttpOnly || !set[0].Secure || set[0].MaxAge < 364*24*3600 {
					t.Errorf("%s: got %q and the cookies %v", c.name, got, set)
				}
				if strings.Contains(w.Body.String(), set[0].Value) {
					t.Errorf("%s: the binding shows the secret", c.name)
				}
			}
		}
	}
	if a, b := serve(middleware.EnrolDevice(b)(shown), request("POST", "/")), serve(middleware.EnrolDevice(b)(shown), request("POST", "/")); a.Body.String() == b.Body.String() {
		t.Error("two devices have one secret")
	}
	// Without the name of a header none is read.
	if w := serve(middleware.BindDevice(middleware.Binding{})(shown), request("GET", "/", header+deviceSecret)); w.Body.Len() > 0 {
		t.Errorf("got %q", w.Body)
	}
	bad := middleware.Binding{Cookie: cookies.Policy{Name: "a b"}}
	want(t, serve(middleware.BindDevice(bad)(shown), request("GET", "/")), auth.Internal)
	want(t, serve(middleware.EnrolDevice(bad)(shown), request("GET", "/")), auth.Internal)
}

// A stolen token is of no use on another device: not at a guard, not at a refresh, not on a route that BindDevice was
// forgotten on, and no step-up loosens it.
func TestBindDevice_StolenTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		b := middleware.Binding{}
		var pair *auth.Pair
		login := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			if pair, err = h.Start(r.Context(), session.Login{Principal: &auth.Principal{Subject: "ann", Methods: []string{"pwd"}}, Client: auth.ClientOf(r)}); err != nil {
				middleware.WriteError(w, r, err)
				return
			}
			if err := jar.Set(w, r, pair); err != nil {
				middleware.WriteError(w, r, err)
			}
		})
		mux := http.NewServeMux()
		mux.Handle("POST /login", middleware.EnrolDevice(b)(login))
		mux.Handle("/bearer", middleware.RequireAuth(auth.Bearer(h.tokens))(whoami))
		mux.Handle("/custom", middleware.RequireAuth(authFunc(func(r *http.Request) (*auth.Principal, error) {
			return h.tokens.Verify(r.Context(), r.Header.Get("X-Token"))
		}))(whoami))
		mux.Handle("/bound", middleware.Chain(middleware.RequireAuth(auth.Bearer(h.tokens)), middleware.RequireBinding())(whoami))
		mux.Handle("/", h) // RefreshFromCookie before /me and /news
		site := middleware.BindDevice(b)(mux)

		w := serve(site, request("POST", "/login"))
		want(t, w, "")
		var device string
		for _, c := range w.Result().Cookies() {
			if c.Name == "__Host-binding" {
				device = c.Name + "=" + c.Value
			}
		}
		if p, err := h.tokens.Verify(t.Context(), pair.Access); err != nil || p.Binding == "" || bindingOf(strings.TrimPrefix(device, "__Host-binding=")) != p.Binding {
			t.Fatalf("the session is not bound: %+v, %v", p, err)
		}
		token, custom := "Authorization: Bearer "+pair.Access, "X-Token: "+pair.Access
		own, thief := "Cookie: "+device, "Cookie: __Host-binding="+otherSecret
		want(t, serve(site, request("GET", "/bearer", token, own)), "")
		want(t, serve(site, request("GET", "/custom", custom, own)), "")
		want(t, serve(site, request("GET", "/bound", token, own)), "")
		for _, h := range []http.Handler{site, mux} { // mux: without BindDevice
			want(t, serve(h, request("GET", "/bearer", token)), auth.TokenInvalid)
			want(t, serve(h, request("GET", "/custom", custom)), auth.TokenInvalid)
			want(t, serve(h, request("GET", "/bearer", token, thief)), auth.TokenInvalid)
			want(t, serve(h, request("GET", "/bound", token, thief)), auth.TokenInvalid)
		}
		want(t, serve(mux, request("GET", "/bearer", token, own)), auth.TokenInvalid)

		// With all its cookies but the device's, past the access token's life.
		time.Sleep(past)
		refresh := "__Host-access=" + pair.Access + "; __Host-refresh=" + pair.Refresh
		stolen := serve(site, request("GET", "/me", "Cookie: "+refresh, sameOrigin))
		want(t, stolen, auth.TokenExpired) // "not now": the owner's own request may lack the proof
		if _, err := h.Refresh(t.Context(), pair.Refresh, auth.Client{}); auth.CodeOf(err) != auth.TokenExpired {
			t.Errorf("a stolen refresh token: got %v", err)
		}
		honest := serve(site, request("GET", "/me", "Cookie: "+refresh+"; "+device, sameOrigin))
		want(t, honest, "") // none of the tries has cost its owner anything
		access := ""
		for _, c := range honest.Result().Cookies() {
			if c.Name == "__Host-access" {
				access = c.Value
			}
		}
		p, err := h.tokens.Verify(t.Context(), access)
		if err != nil || p.Binding == "" {
			t.Fatalf("a refresh has unbound the session: %+v, %v", p, err)
		}
		// A step-up whose handler forgot the request's context.
		strong, err := h.Start(t.Context(), session.Login{Principal: &auth.Principal{Subject: "ann", Session: p.Session, Binding: p.Binding, Methods: []string{"pwd", "otp"}}})
		if err != nil {
			t.Fatal(err)
		}
		if q, err := h.tokens.Verify(t.Context(), strong.Access); err != nil || q.Binding != p.Binding {
			t.Errorf("a step-up has unbound the session: %+v, %v", q, err)
		}
	})
}

func TestRequireBinding(t *testing.T) {
	guard := middleware.RequireBinding()(whoami)
	want(t, serve(guard, request("GET", "/")), auth.CredentialsMissing)
	want(t, serve(guard, as(request("GET", "/"), &auth.Principal{Subject: "ann"})), auth.StepUpRequired)
	bound := as(request("GET", "/"), &auth.Principal{Subject: "ann", Binding: "device:x"})
	want(t, serve(guard, bound), auth.TokenInvalid)
	want(t, serve(guard, bound.WithContext(auth.Bind(bound.Context(), "device:y"))), auth.TokenInvalid)
	want(t, serve(guard, bound.WithContext(auth.Bind(bound.Context(), "device:x"))), "")
}

// FuzzBindDevice: whatever a client sends, it is bound to a secret of its own or to nothing, or refused.
func FuzzBindDevice(f *testing.F) {
	for _, s := range []string{"", "x", deviceSecret, deviceSecret + "\x00", "device:" + deviceSecret, strings.Repeat("=", 43), strings.Repeat("é", 43)} {
		f.Add(s, "__Host-binding="+s)
		f.Add(s, "")
	}
	site := middleware.BindDevice(middleware.Binding{Header: "X-Device"})(shown)
	f.Fuzz(func(t *testing.T, header, cookie string) {
		r := httptest.NewRequest("GET", "/", nil)
		if header != "" {
			r.Header["X-Device"] = []string{header}
		}
		if cookie != "" {
			r.Header["Cookie"] = []string{cookie}
		}
		w := serve(site, r)
		switch got := w.Body.String(); {
		case w.Code == 400:
		case w.Code != 200:
			t.Fatalf("got %d %s", w.Code, got)
		case got == "" && header == "":
		case header != "" && got == bindingOf(header) && len(header) >= 43:
		case header == "" && strings.Contains(cookie, "__Host-binding="):
		default:
			t.Fatalf("%q and %q are bound to %q", header, cookie, got)
		}
	})
}
