// Command example is a server with the whole kit in it: log in, stay logged in, call guarded routes, see and end
// one's sessions.
//
//	go run ./example
//
// It listens on 127.0.0.1:8080 and prints how to log in. Without any set-up it keeps everything in memory
// and makes its secret and its passwords anew at each start. From the environment it takes ADDR (another
// loopback address), REDIS_URL (sessions, what was ended and the login limit in Redis), CORS_ORIGIN (a page of
// another origin that may call it) and DOORWARD_SECRET or DOORWARD_SECRET_FILE.
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/ratelimit/redislimit"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
	"github.com/doorward/doorward/tokens"
	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"
	"github.com/rs/cors"
)

//go:embed page
var page embed.FS

func main() {
	addr := cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080")
	users, hint, err := demoUsers()
	if err != nil {
		log.Fatal(err)
	}
	handler, err := newServer("http://"+addr, users)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf(hint, "http://"+addr)
	server := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: time.Minute}
	log.Fatal(server.ListenAndServe())
}

// newServer wires the kit together. Everything is handed over as a value; nothing is registered anywhere.
func newServer(origin string, users *users) (http.Handler, error) {
	keys, err := newKeys()
	if err != nil {
		return nil, err
	}
	store, list, limiter, err := newStores()
	if err != nil {
		return nil, err
	}
	tok, err := tokens.New(tokens.Config{Keys: keys, Issuer: origin, Audience: "example", List: list})
	if err != nil {
		return nil, err
	}
	observe := auth.Log(nil) // each login, refresh and ending is a line in the log
	sessions, err := session.New(session.Config{Store: store, Tokens: tok, Subjects: users, Observe: observe})
	if err != nil {
		return nil, err
	}
	csrf, err := middleware.NewCSRF(keys, origin, strings.Replace(origin, "127.0.0.1", "localhost", 1))
	if err != nil {
		return nil, err
	}
	jar := cookies.Jar{Name: "example", Seal: cookies.Seal{Keys: keys, Issuer: origin}, InsecureLoopback: true} // http, on this machine only
	limit := middleware.LoginLimit{Limiter: limiter}

	// The page's tokens are in cookies, which it cannot read; a program has them in its hands.
	browser, err := sessionhttp.New(sessionhttp.Config{Sessions: sessions, Access: tok, Login: users.login, Limit: limit, Jar: jar, CSRF: csrf, Observe: observe})
	if err != nil {
		return nil, err
	}
	program, err := sessionhttp.New(sessionhttp.Config{Sessions: sessions, Access: tok, Login: users.login, Limit: limit, Bearer: true, Observe: observe})
	if err != nil {
		return nil, err
	}

	// A route of the application takes both; who shows a cookie must prove that it is no other site's doing.
	guard := middleware.Chain(
		middleware.RequireAuth(auth.Bearer(tok), auth.Cookie(jar.Access, tok)),
		middleware.RequireCSRF(csrf),
	)
	admin := middleware.Chain(guard, middleware.RequireRole("admin"))

	mux := http.NewServeMux()
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, err
	}
	mux.Handle("/", http.FileServerFS(files))
	mux.Handle("/auth/", http.StripPrefix("/auth", browser))
	mux.Handle("/token/", http.StripPrefix("/token", program))
	mux.Handle("GET /me", guard(http.HandlerFunc(showMe)))
	mux.Handle("GET /admin", admin(http.HandlerFunc(showAdmin)))

	outer := middleware.Chain(
		middleware.SecureHeaders(),
		allowOrigin(os.Getenv("CORS_ORIGIN")),
		// An access token lives for 15 minutes, a login for as long as somebody comes back within a week.
		middleware.RefreshFromCookie(middleware.Refresh{Sessions: sessions, Access: tok, Jar: jar, CSRF: csrf}),
	)
	return outer(mux), nil
}

// newKeys takes the secret from the environment. There is no default: without one it makes one, and says so.
func newKeys() (*tokens.Keyring, error) {
	if os.Getenv("DOORWARD_SECRET") == "" && os.Getenv("DOORWARD_SECRET_FILE") == "" {
		log.Print("no DOORWARD_SECRET: made one for this run; tokens end with it")
		return tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))), nil
	}
	return tokens.KeysFromEnv()
}

// newStores keeps sessions and limits in memory, or where several servers share them. A session store ends
// sessions on its own list, so that the two cannot disagree; with Redis each server has a replica of that list, and
// asks it instead.
func newStores() (session.Store, tokens.List, ratelimit.Limiter, error) {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		list := revocation.NewMemory()
		return session.NewMemory(list), list, ratelimit.NewMemory(100_000), nil
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	options.ContextTimeoutEnabled = true // deadlines without a goroutine for each command
	client := redis.NewClient(options)
	list, err := redisrev.New(redisrev.Config{Client: client})
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := redissession.New(list)
	if err != nil {
		return nil, nil, nil, err
	}
	// How far an ending can be trusted there. It is no reason to stop.
	if err := errors.Join(list.Ready(context.Background()), store.Durable(context.Background())); err != nil {
		log.Print("REDIS_URL: ", err)
	}
	replica, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: list, Observe: auth.Log(nil)})
	if err != nil {
		return nil, nil, nil, err
	}
	limiter, err := redislimit.New(redislimit.Config{Client: client, Observe: auth.Log(nil)})
	return store, replica, limiter, err
}

// allowOrigin lets the page of one other origin call with a bearer token. Cookies are not allowed across
// origins, so that such a page can do nothing in the name of whoever looks at it.
func allowOrigin(origin string) middleware.Middleware {
	if origin == "" {
		return middleware.Chain()
	}
	return cors.New(cors.Options{
		AllowedOrigins: []string{origin},
		AllowedMethods: []string{"GET", "POST", "DELETE"},
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		MaxAge:         600,
	}).Handler
}

func showMe(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context())
	writeJSON(w, struct {
		Subject string    `json:"subject"`
		Roles   []string  `json:"roles"`
		Expires time.Time `json:"expires"`
	}{p.Subject, p.Roles, p.Expires})
}

func showAdmin(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]string{"secret": "the coffee is in the second drawer"})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.MarshalWrite(w, v); err != nil {
		log.Print("answer not sent: ", err)
	}
	_, _ = w.Write([]byte("\n"))
}
