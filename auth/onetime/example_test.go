package onetime_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/cookies"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// accounts is an application's table.
type accounts map[string]string // name to the hash of the password

// A link resets a password: it is mailed, leads to a page, and dies with the password that it was made for.
func Example() {
	users := accounts{"ann": "$argon2id$..."}
	tok, err := tokens.New(tokens.Config{
		Keys:   tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret()))),
		Issuer: "https://app.example.com", Audience: "app",
	})
	if err != nil {
		log.Fatal(err)
	}
	reset, err := onetime.New(onetime.Config[struct{}]{
		Tokens: tok, Store: onetime.NewMemory(), Type: tokens.ResetPassword, URL: "https://app.example.com/reset",
		State: func(_ context.Context, name string, _ struct{}) ([]string, error) {
			hash, ok := users[name]
			if !ok {
				return nil, auth.NotFound
			}
			return []string{hash}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	page, err := reset.Page(onetime.Page[struct{}]{
		Title: "Set a new password", Button: "Set it",
		Fields: `<p><label>New password <input type="password" name="password" autocomplete="new-password"></label></p>`,
		Form: func(r *http.Request, t onetime.Token[struct{}]) (func(http.ResponseWriter) error, error) {
			password := r.PostForm.Get("password")
			if len(password) < 15 { // a policy belongs here: the token is not used up yet
				return nil, fmt.Errorf("%w: a short password", auth.ValidationFailed)
			}
			hash := "the hash of " + password // and hashing, which may be told to come back later
			return func(w http.ResponseWriter) error {
				users[t.Subject] = hash // where the hash is still the one of State; and sessions.EndAll
				http.Redirect(w, r, "/login", http.StatusSeeOther)
				return nil
			}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	var jar cookies.Jar // that of the login
	mux := http.NewServeMux()
	mux.Handle("/reset", middleware.OptionalAuth(auth.Cookie(jar.Access, tok))(page))

	link, err := reset.Issue(context.Background(), "ann", struct{}{}, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(link.URL) // the mail says link.URL.Reveal()
	fmt.Println(send(mux, "POST", "/reset", form(link.Token.Reveal(), "correct horse battery")).Code)
	fmt.Println(send(mux, "POST", "/reset", form(link.Token.Reveal(), "correct horse battery")).Code)
	// Output:
	// [secret]
	// 303
	// 401
}
