package apikey_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/middleware"
)

// reports answers with those of whoever the key speaks for.
var reports = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context())
	_, _ = fmt.Fprintf(w, "the reports of %s", p.Subject)
})

// A service whose one key stands in the configuration of both sides.
func ExampleNewStatic() {
	setting := "4f1c9a7e2b6d80355ae1c47f9032bd68" // os.Getenv("BILLING_KEY")

	billing, err := apikey.NewStatic(apikey.StaticConfig{
		Keys:   []auth.Secret{auth.NewSecret(setting)}, // beside it the former one, while the service changes
		Issuer: "https://api.example.com", Subject: "billing", Scopes: []string{"reports:read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /reports", middleware.Chain(
		middleware.RequireAuth(auth.Header("X-API-Key", billing)),
		middleware.RequireService("billing"),
		middleware.RequireCompetency("reports:read"),
	)(reports))

	for _, key := range []string{setting, "another", ""} {
		r := httptest.NewRequest("GET", "/reports", nil)
		if key != "" {
			r.Header.Set("X-API-Key", key)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header()["Www-Authenticate"])
	}
	// Output:
	// 200 []
	// 401 [ApiKey realm="api", in="header", key_name="X-Api-Key", error="invalid_token", error_description="The API key is not valid."]
	// 401 [ApiKey realm="api", in="header", key_name="X-Api-Key"]
}

// A script reads reports with a key of its owner's.
func Example() {
	ctx := context.Background()
	keys, err := apikey.New(apikey.Config{Store: apikey.NewMemory(), Issuer: "https://api.example.com", Prefix: "acme"})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	guard := middleware.RequireAuth(auth.Header("X-API-Key", keys))
	mux.Handle("GET /reports", middleware.Chain(guard, middleware.RequireCompetency("reports:read"))(reports))

	secret, key, err := keys.Create(ctx, apikey.Spec{Subject: "ann", Name: "nightly build", Scopes: []string{"reports:read"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(secret) // only Reveal shows it, and only now
	call := func(secret auth.Secret) {
		r := httptest.NewRequest("GET", "/reports", nil)
		r.Header.Set("X-API-Key", secret.Reveal())
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	call(secret)
	next, _, err := keys.Rotate(ctx, "ann", "", key.ID, 24*time.Hour) // both work for a day
	if err != nil {
		log.Fatal(err)
	}
	call(secret)
	call(next)
	if err := keys.Revoke(ctx, "ann", "", key.ID); err != nil {
		log.Fatal(err)
	}
	call(next)
	// Output:
	// [secret]
	// 200
	// 200
	// 200
	// 401
}
