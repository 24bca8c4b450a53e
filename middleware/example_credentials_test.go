package middleware_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// One service calls another: a kind of token of its own, for an audience of its own.
func ExampleRequireService() {
	keys := tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret())))
	mux := http.NewServeMux()

	internal, err := tokens.New(tokens.Config{Keys: keys, Issuer: "https://api.example.com", Audience: "invoices", Type: tokens.Service})
	if err != nil {
		log.Fatal(err)
	}
	guard := middleware.Chain(
		middleware.RequireAuth(auth.Bearer(internal)),
		middleware.RequireService("billing", "reports"), // who
		middleware.RequireCompetency("invoices:read"),   // and what
	)
	mux.Handle("GET /invoices", guard(http.HandlerFunc(hello)))

	stamp, err := internal.Stamp(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	token, _, err := internal.Issue(stamp, &auth.Principal{Subject: "billing", Competencies: []string{"invoices:read"}})
	if err != nil {
		log.Fatal(err)
	}
	show(mux, "GET", "/invoices", "Authorization: Bearer "+token)
	// Output: GET /invoices 200 hello billing
}

// What is dangerous asks for a proof of the last minutes.
func ExampleRequireRecentAuth() {
	proven := time.Now().Add(-time.Hour)
	user := func(next http.Handler) http.Handler { // stands for RequireAuth
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := &auth.Principal{Subject: "ann", Session: "s1", Methods: []string{"pwd", "otp"}, AuthTime: proven}
			next.ServeHTTP(w, r.WithContext(auth.NewContext(r.Context(), p)))
		})
	}
	mux := http.NewServeMux()

	careful := middleware.Chain(user, middleware.RequireRecentAuth(10*time.Minute, "otp"))
	mux.Handle("DELETE /account", careful(http.HandlerFunc(hello)))

	header := show(mux, "DELETE", "/account")
	fmt.Println(header.Get("WWW-Authenticate"))
	proven = time.Now() // she has proven herself again, and has a new session
	show(mux, "DELETE", "/account")
	// Output:
	// DELETE /account 401 step_up_required
	// Bearer realm="api", error="insufficient_user_authentication", error_description="A more recent or stronger proof is required.", max_age="600"
	// DELETE /account 200 hello ann
}

// Tokens that work on one device alone.
func ExampleBindDevice() {
	mux := http.NewServeMux()
	login := http.HandlerFunc(hello) // stands for sessionhttp.New, or a handler that calls session.Start
	guard := middleware.RequireAuth(auth.Bearer(exampleTokens{}))

	device := middleware.Binding{Header: "X-Device-Secret"} // browsers have a cookie
	mux.Handle("POST /auth/login", middleware.EnrolDevice(device)(login))
	mux.Handle("GET /payments", middleware.Chain(guard, middleware.RequireBinding())(http.HandlerFunc(hello)))
	handler := middleware.BindDevice(device)(mux) // outside of RefreshFromCookie and of every guard

	fmt.Println(show(handler, "POST", "/auth/login")["Set-Cookie"] != nil)
	show(handler, "GET", "/payments", "Authorization: Bearer token-of-ann") // of a login without a device
	// Output:
	// POST /auth/login 200 hello, whoever you are
	// true
	// GET /payments 401 step_up_required
}

// exampleMember proves ann, whose grants hold in the organisation "chess".
type exampleMember struct{}

func (exampleMember) Verify(context.Context, string) (*auth.Principal, error) {
	return &auth.Principal{Subject: "ann", Tenant: "chess", Roles: []string{"admin"}}, nil
}

func ExampleRequireTenant() {
	mux := http.NewServeMux()
	guard, remove := middleware.RequireAuth(auth.Bearer(exampleMember{})), http.HandlerFunc(hello)

	clubs := middleware.Chain(guard, middleware.RequireTenant(auth.PathTenant("org")), middleware.RequireRole("admin"))
	mux.Handle("DELETE /orgs/{org}/members/{id}", clubs(remove))

	mux.Handle("DELETE /users/{id}", middleware.Chain(guard, middleware.RequireRole("admin"))(remove)) // of the platform

	show(mux, "DELETE", "/orgs/chess/members/7", "Authorization: Bearer token-of-ann")
	show(mux, "DELETE", "/orgs/rowing/members/7", "Authorization: Bearer token-of-ann")
	show(mux, "DELETE", "/users/7", "Authorization: Bearer token-of-ann")
	// Output:
	// DELETE /orgs/chess/members/7 200 hello ann
	// DELETE /orgs/rowing/members/7 403 tenant_forbidden
	// DELETE /users/7 403 tenant_forbidden
}
