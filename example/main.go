// Command example is a server with the whole kit in it: log in, call guarded routes, end a session for good.
//
//	go run ./example
//
// It listens on 127.0.0.1:8080 and prints how to log in. Without any set-up it keeps everything in memory
// and makes its secret and its passwords anew at each start. From the environment it takes ADDR (another
// loopback address), REDIS_URL (the revocation list in Redis), CORS_ORIGIN (a page of another origin that
// may call it) and DOORWARD_SECRET or DOORWARD_SECRET_FILE.
package main

import (
	"cmp"
	"crypto/rand"
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
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
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
	list, err := newList()
	if err != nil {
		return nil, err
	}
	tok, err := tokens.New(tokens.Config{Keys: keys, Issuer: origin, Audience: "example", List: list})
	if err != nil {
		return nil, err
	}
	csrf, err := middleware.NewCSRF(keys, origin, strings.Replace(origin, "127.0.0.1", "localhost", 1))
	if err != nil {
		return nil, err
	}
	jar := cookies.Jar{Name: "example", Seal: cookies.Seal{Keys: keys, Issuer: origin}, InsecureLoopback: true} // http, on this machine only
	s := &server{tok: tok, list: list, users: users, jar: jar, csrf: csrf}

	// A program shows a bearer token, a browser a cookie; the second kind must prove that it is no other site's doing.
	guard := middleware.Chain(
		middleware.RequireAuth(auth.Bearer(tok), auth.Cookie(jar.Access, tok)),
		middleware.RequireCSRF(csrf),
	)
	admin := middleware.Chain(guard, middleware.RequireRole("admin"))

	mux := http.NewServeMux()
	files, _ := fs.Sub(page, "page")
	mux.Handle("GET /", http.FileServerFS(files))
	mux.Handle("POST /login", middleware.RequireJSON(4<<10)(http.HandlerFunc(s.login)))
	mux.Handle("GET /me", guard(http.HandlerFunc(s.me)))
	mux.Handle("GET /admin", admin(http.HandlerFunc(s.admin)))
	mux.Handle("POST /logout", guard(http.HandlerFunc(s.logout)))
	mux.Handle("POST /logout/everywhere", guard(http.HandlerFunc(s.logoutEverywhere)))

	outer := middleware.Chain(middleware.SecureHeaders(), allowOrigin(os.Getenv("CORS_ORIGIN")))
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

func newList() (revocation.List, error) {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		return revocation.NewMemory(), nil
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	return redisrev.New(redisrev.Config{Client: redis.NewClient(options)})
}

// allowOrigin lets the page of one other origin call with a bearer token. Cookies are not allowed across
// origins, so that such a page can do nothing in the name of whoever looks at it.
func allowOrigin(origin string) middleware.Middleware {
	if origin == "" {
		return middleware.Chain()
	}
	return cors.New(cors.Options{
		AllowedOrigins: []string{origin},
		AllowedMethods: []string{"GET", "POST"},
		AllowedHeaders: []string{"Authorization", "Content-Type"},
		MaxAge:         600,
	}).Handler
}

// A server is the application: what the guards let through.
type server struct {
	tok   *tokens.Tokens
	list  revocation.List
	users *users
	jar   cookies.Jar
	csrf  *middleware.CSRF
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	var in struct {
		Account  string `json:"account"`
		Password string `json:"password"`
	}
	if err := decode(r, &in); err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	if err := s.csrf.CheckOrigin(r); err != nil { // nobody is logged in by another site
		middleware.WriteError(w, r, err)
		return
	}
	stamp, err := s.tok.Stamp(ctx) // before the user is read, so that the token cannot outlive what was read
	if err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	p, err := s.users.login(ctx, in.Account, in.Password)
	if err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	p.Session, p.AuthTime = rand.Text(), time.Now()
	access, expires, err := s.tok.Issue(stamp, p)
	if err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	csrf, err := s.csrf.Token(p.Session)
	if err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	if err := s.jar.Set(w, r, &auth.Pair{Access: access, Session: p.Session, AccessExpires: expires}); err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	w.Header().Set("X-CSRF-Token", csrf)
	writeJSON(w, struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"` // seconds
	}{access, "Bearer", int(time.Until(expires).Seconds())})
}

func (s *server) me(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context())
	writeJSON(w, struct {
		Subject string    `json:"subject"`
		Session string    `json:"session"`
		Roles   []string  `json:"roles"`
		Expires time.Time `json:"expires"`
	}{p.Subject, p.Session, p.Roles, p.Expires})
}

func (s *server) admin(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]string{"secret": "the coffee is in the second drawer"})
}

// logout ends this session: when Revoke has returned, no node accepts a token of it any more.
func (s *server) logout(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context())
	s.end(w, r, auth.Revocation{Issuer: p.Issuer, Tenant: p.Tenant, Subject: p.Subject, Session: p.Session})
}

// logoutEverywhere raises the user's token version, in the users table first, then for all the world.
func (s *server) logoutEverywhere(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context())
	version := s.users.raiseVersion(p.Subject)
	s.end(w, r, auth.Revocation{Issuer: p.Issuer, Tenant: p.Tenant, Subject: p.Subject, Below: version})
}

func (s *server) end(w http.ResponseWriter, r *http.Request, what auth.Revocation) {
	if err := s.list.Revoke(r.Context(), what); err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	if err := s.jar.Clear(w, r); err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// decode reads a strict JSON body: no unknown, doubled or case-folded names.
func decode(r *http.Request, v any) error {
	err := json.UnmarshalRead(r.Body, v, json.RejectUnknownMembers(true))
	if err != nil && !errors.Is(err, auth.TooLarge) {
		err = fmt.Errorf("%w: %w", auth.RequestMalformed, err)
	}
	return err
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err := json.MarshalWrite(w, v); err != nil {
		log.Print("answer not sent: ", err)
	}
}
