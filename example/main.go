// Command example is a server with the whole kit in it: log in, stay logged in, call guarded routes, see and end
// one's sessions, use a second factor, make an API key for a script, invite somebody, prove oneself again before
// something dangerous.
//
//	go run ./example
//
// It listens on 127.0.0.1:8080 and prints how to log in. Without any set-up it keeps everything in memory
// and makes its secret and its passwords anew at each start. From the environment it takes ADDR (another
// loopback address), REDIS_URL (everything in Redis but the users and their factors), CORS_ORIGIN (a page of
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
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/auth/apikey/redisapikey"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/auth/onetime/redisonetime"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
	"github.com/doorward/doorward/ratelimit/redislimit"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/revocation/redisrev"
	"github.com/doorward/doorward/tokens"
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
	handler, closeStores, err := newServer("http://"+addr, users)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf(hint, "http://"+addr)
	server := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: time.Minute}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done := make(chan struct{})
	context.AfterFunc(ctx, func() {
		stop() // a second interrupt ends it at once
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		close(done)
	})
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-done // the last request has its answer
	closeStores()
}

// newServer wires the kit together. Everything is handed over as a value; nothing is registered anywhere.
func newServer(origin string, users *users) (handler http.Handler, closeStores func(), err error) {
	keys, err := newKeys()
	if err != nil {
		return nil, nil, err
	}
	stores, err := newStores()
	if err != nil {
		return nil, nil, err
	}
	tok, err := tokens.New(tokens.Config{Keys: keys, Issuer: origin, Audience: "example", List: stores.list})
	if err != nil {
		return nil, nil, err
	}
	observe := auth.Log(nil) // each login, refresh and ending is a line in the log
	sessions, err := session.New(session.Config{Store: stores.sessions, Tokens: tok, Subjects: users, Observe: observe})
	if err != nil {
		return nil, nil, err
	}
	csrf, err := middleware.NewCSRF(keys, origin, strings.Replace(origin, "127.0.0.1", "localhost", 1))
	if err != nil {
		return nil, nil, err
	}
	jar := cookies.Jar{Name: "example", Seal: cookies.Seal{Keys: keys, Issuer: origin}, InsecureLoopback: true} // http, on this machine only
	limit := middleware.LoginLimit{Limiter: stores.limiter}
	a := &app{users: users, sessions: sessions}
	if err := a.credentials(origin, keys, tok, stores, observe); err != nil {
		return nil, nil, err
	}

	// The page's tokens are in cookies, which it cannot read; a program has them in its hands.
	browser, err := sessionhttp.New(sessionhttp.Config{
		Sessions: sessions, Access: tok, Login: users.login, SecondFactor: a.secondFactor, Limit: limit, Jar: jar, CSRF: csrf, Observe: observe,
	})
	if err != nil {
		return nil, nil, err
	}
	program, err := sessionhttp.New(sessionhttp.Config{
		Sessions: sessions, Access: tok, Login: users.login, SecondFactor: a.secondFactor, Limit: limit, Bearer: true, Observe: observe,
	})
	if err != nil {
		return nil, nil, err
	}

	// A route of the application takes both; who shows a cookie must prove that it is no other site's doing.
	guard := middleware.Chain(
		middleware.RequireAuth(auth.Bearer(tok), auth.Cookie(jar.Access, tok)),
		middleware.RequireCSRF(csrf),
	)
	withJSON := middleware.RequireJSON(4 << 10)
	admin := middleware.Chain(guard, middleware.RequireRole("admin"))
	// Who changes how one logs in has just logged in. What is dangerous asks for the second factor, too: nobody without one.
	recent := middleware.Chain(guard, middleware.RequireRecentAuth(10*time.Minute))
	dangerous := middleware.Chain(admin, middleware.RequireRecentAuth(5*time.Minute, "otp"))
	// A script has no session: it shows a key, which opens what it was made for and its owner may.
	reader := middleware.Chain(
		middleware.RequireAuth(auth.Header("X-API-Key", a.keys), auth.Bearer(tok), auth.Cookie(jar.Access, tok)),
		middleware.RequireCompetency("report:read"),
	)

	mux := http.NewServeMux()
	files, err := fs.Sub(page, "page")
	if err != nil {
		return nil, nil, err
	}
	invited, err := a.invitePage()
	if err != nil {
		return nil, nil, err
	}
	mux.Handle("/", http.FileServerFS(files))
	mux.Handle("/auth/", http.StripPrefix("/auth", browser))
	mux.Handle("/token/", http.StripPrefix("/token", program))
	mux.Handle("GET /me", guard(route(a.me)))
	mux.Handle("GET /admin", admin(route(a.secret)))
	mux.Handle("POST /admin/shred", dangerous(route(a.shred)))
	mux.Handle("POST /admin/invites", middleware.Chain(recent, middleware.RequireRole("admin"), withJSON)(route(a.invite)))
	mux.Handle("/invite", invited)
	mux.Handle("POST /factor", recent(route(a.enrol)))
	mux.Handle("POST /factor/confirm", middleware.Chain(guard, withJSON)(route(a.confirm)))
	mux.Handle("POST /factor/remove", middleware.Chain(recent, withJSON)(route(a.remove)))
	mux.Handle("POST /keys", middleware.Chain(recent, withJSON)(route(a.createKey)))
	mux.Handle("GET /keys", guard(route(a.listKeys)))
	mux.Handle("DELETE /keys/{id}", guard(route(a.revokeKey)))
	mux.Handle("GET /report", reader(route(a.report)))

	outer := middleware.Chain(
		middleware.SecureHeaders(),
		allowOrigin(os.Getenv("CORS_ORIGIN")),
		// An access token lives for 15 minutes, a login for as long as somebody comes back within a week.
		middleware.RefreshFromCookie(middleware.Refresh{Sessions: sessions, Access: tok, Jar: jar, CSRF: csrf}),
	)
	return outer(mux), stores.close, nil
}

// newKeys takes the secret from the environment. There is no default: without one it makes one, and says so.
func newKeys() (*tokens.Keyring, error) {
	if os.Getenv("DOORWARD_SECRET") == "" && os.Getenv("DOORWARD_SECRET_FILE") == "" {
		log.Print("no DOORWARD_SECRET: made one for this run; tokens end with it")
		return tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))), nil
	}
	return tokens.KeysFromEnv()
}

// storage is what several servers share.
type storage struct {
	sessions session.Store
	list     tokens.List
	limiter  ratelimit.Limiter
	factors  totp.Store
	keys     apikey.Store
	links    onetime.Store
	close    func()
}

// newStores keeps all of it in memory, or in Redis, but for the users' second factors: whether somebody has one stands in the users
// table, and both must live as long as each other. With a table in a database it is redistotp.New. A session store ends sessions on its own list, so that the two cannot
// disagree; with Redis each server has a replica of that list, and asks it instead.
func newStores() (*storage, error) {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		list := revocation.NewMemory()
		return &storage{session.NewMemory(list), list, ratelimit.NewMemory(100_000), totp.NewMemory(), apikey.NewMemory(), onetime.NewMemory(), func() {}}, nil
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	options.ContextTimeoutEnabled = true // deadlines without a goroutine for each command
	client := redis.NewClient(options)
	truth, err := redisrev.New(redisrev.Config{Client: client})
	if err != nil {
		return nil, err
	}
	sessions, err := redissession.New(truth)
	if err != nil {
		return nil, err
	}
	limiter, err := redislimit.New(redislimit.Config{Client: client, Observe: auth.Log(nil)})
	if err != nil {
		return nil, err
	}
	keys, err := redisapikey.New(redisapikey.Config{Client: client})
	if err != nil {
		return nil, err
	}
	links, err := redisonetime.New(redisonetime.Config{Client: client})
	if err != nil {
		return nil, err
	}
	// Whether Redis answers, and how far an ending can be trusted there. Neither is a reason to stop: Redis may come later.
	if err := truth.Ready(context.Background()); auth.CodeOf(err) == auth.StoreUnavailable {
		log.Print("REDIS_URL: logins and guarded routes answer 503 until Redis does: ", err)
	} else if err := errors.Join(err, sessions.Durable(context.Background())); err != nil {
		log.Print("REDIS_URL: ", err)
	}
	replica, err := revocation.NewReplica(revocation.ReplicaConfig{Feed: truth, Observe: auth.Log(nil)})
	if err != nil {
		return nil, err
	}
	return &storage{sessions, replica, limiter, totp.NewMemory(), keys, links, func() { _ = replica.Close() }}, nil
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
