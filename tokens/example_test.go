package tokens_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// get asks a server as a client would, with a bearer token or without.
func get(h http.Handler, path, token string) {
	r := httptest.NewRequest("GET", path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Print(w.Code, " ", w.Body)
}

// Program (a) of the design: one route, one secret.
func Example() {
	secret := []byte(tokens.GenerateSecret()) // from the environment in a real program: see ConfigFromEnv
	tok, err := tokens.New(tokens.Config{
		Keys:   tokens.NewKeyring(tokens.FromSecret(secret)),
		Issuer: "https://api.example.com", Audience: "api",
	})
	if err != nil {
		panic(err) // a short secret, a missing issuer: told here
	}
	guard := middleware.RequireAuth(auth.Bearer(tok))
	mux := http.NewServeMux()
	mux.Handle("GET /hello", guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		fmt.Fprintln(w, "hello", p.Subject)
	})))

	stamp, err := tok.Stamp(context.Background())
	if err != nil {
		panic(err)
	}
	token, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"})
	if err != nil {
		panic(err)
	}
	get(mux, "/hello", token)
	get(mux, "/hello", "")
	// Output:
	// 200 hello ann
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"Authentication is required.","code":"credentials_missing"}
}

// Plan is what another issuer puts beside the registered claims.
type Plan struct {
	Org   string `json:"org_id"`
	Tier  string `json:"tier"`
	Realm struct {
		Roles []string `json:"roles"`
	} `json:"realm_access"`
}

// Program (d) of the design: a service that verifies another issuer's JWKS, with roles and typed claims.
func Example_foreignIssuer() {
	issuer := newForeignIssuer()
	defer issuer.Close()

	keys, err := tokens.NewRemoteKeyring(tokens.RemoteConfig{
		URL: issuer.URL + "/jwks.json", Algorithms: []string{"ES256", "RS256"},
	})
	if err != nil {
		panic(err)
	}
	tok, err := tokens.New(tokens.Config{
		Keys: keys, Issuer: "https://id.example.com", Audience: "billing",
		AllowForeign: true, Type: "JWT", // an issuer that is not ours: no jti, sid or ver demanded, aud may be a list
		Claims: tokens.CustomClaims[Plan](),
		Validate: func(_ context.Context, c *tokens.Claims) error {
			c.Roles = c.Claims.(Plan).Realm.Roles
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	guard := middleware.Chain(middleware.RequireAuth(auth.Bearer(tok)), middleware.RequireRole("billing", "admin"))
	mux := http.NewServeMux()
	mux.Handle("GET /invoices", guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plan, _ := auth.ClaimsFrom[Plan](r.Context())
		fmt.Fprintln(w, "invoices of", plan.Org, plan.Tier)
	})))

	get(mux, "/invoices", issuer.token(`"billing"`))
	get(mux, "/invoices", issuer.token(`"guest"`))
	// Output:
	// 200 invoices of acme gold
	// 403 {"type":"about:blank","title":"Forbidden","status":403,"detail":"The required role is missing.","code":"role_missing"}
}

type invite struct {
	Project string `json:"project"`
	Mail    string `json:"mail"`
}

// invitations is a kind of its own: no access token opens it, and it opens no guarded route.
var invitations = tokens.NewKind[invite](tokens.Invite, 7*24*time.Hour)

func ExampleKind() {
	tok, err := tokens.New(tokens.Config{
		Keys:   tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))),
		Issuer: "https://api.example.com", Audience: "api",
	})
	if err != nil {
		panic(err)
	}
	raw, err := invitations.Issue(tok, "ann", invite{Project: "door", Mail: "bob@example.com"}, 0)
	if err != nil {
		panic(err)
	}
	claims, payload, err := invitations.Verify(context.Background(), tok, raw)
	fmt.Println(claims.Subject, "invites", payload.Mail, "to", payload.Project, err)
	_, err = tok.Verify(context.Background(), raw)
	fmt.Println(err)
	// Output:
	// ann invites bob@example.com to door <nil>
	// tokens: wrong kind of token: got "invite+jwt", expected "at+jwt"
}

// A key is changed without downtime in four calls, each on every node before the next one.
func ExampleKeyring_Replace() {
	oldKey, newKey := tokens.FromSecret([]byte(tokens.GenerateSecret())), tokens.FromSecret([]byte(tokens.GenerateSecret()))
	keys := tokens.NewKeyring(oldKey)

	fmt.Println("add:    ", keys.Replace(oldKey, newKey)) // accepted everywhere before it signs anywhere
	fmt.Println("promote:", keys.Replace(newKey, oldKey)) // signs; the old key's tokens live on
	lastToken := time.Now().Add(15 * time.Minute)
	fmt.Println("retire: ", keys.Replace(newKey, oldKey.During(time.Time{}, lastToken)))
	fmt.Println("remove: ", keys.Replace(newKey)) // whatever the old key signed is dead at once
	// Output:
	// add:     <nil>
	// promote: <nil>
	// retire:  <nil>
	// remove:  <nil>
}
