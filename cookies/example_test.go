package cookies_test

import (
	"fmt"
	"net/http/httptest"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/cookies"
)

// A login sets the session's cookies, and a guarded route reads them.
func Example() {
	var jar cookies.Jar // __Host-access and __Host-refresh

	login := httptest.NewRecorder()
	err := jar.Set(login, httptest.NewRequest("POST", "/login", nil), &auth.Pair{Access: "an.access.token"})
	fmt.Println(err, login.Header().Get("Set-Cookie"))

	r := httptest.NewRequest("GET", "/account", nil)
	_, err = jar.Access(r)
	fmt.Println(err)

	r.Header.Set("Cookie", "__Host-access=an.access.token")
	access, err := jar.Access(r) // auth.Cookie(jar.Access, tok) verifies it as well
	fmt.Println(access, err)

	r.Header.Add("Cookie", "__Host-access=set.by.somebody-else")
	_, err = jar.Access(r)
	fmt.Println(err)
	// Output:
	// <nil> __Host-access=an.access.token; Path=/; HttpOnly; Secure; SameSite=Lax
	// credentials_missing
	// an.access.token <nil>
	// request_malformed: two cookies named __Host-access
}

// A cookie of the application's own, sealed, so that it may hold any text.
func ExamplePolicy() {
	var keys keyring = newKeys("2026-11") // in an application: the *tokens.Keyring
	last := cookies.Policy{Name: "last-account", Seal: cookies.Seal{Keys: keys, Issuer: "https://app.example.com"}}

	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	_, err := last.Get(r)
	fmt.Println(err)
	fmt.Println(last.Clear(w, r), w.Header().Get("Set-Cookie"))
	// Output:
	// credentials_missing
	// <nil> __Host-last-account=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax
}
