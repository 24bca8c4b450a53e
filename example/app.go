package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/apikey"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/auth/password/policy"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
	"github.com/go-json-experiment/json"
)

// app is the application: its users, and what it asks of the kit beside sessions.
type app struct {
	users    *users
	sessions *session.Sessions
	factors  *totp.Factors
	keys     *apikey.Keys
	invites  *onetime.Kind[invitation]
	policy   *policy.Policy

	// changing is held while a factor comes or goes, from the first write to the last: of two at once, the refused one would
	// undo what the other one notes. In a database it is a lock on the user's row.
	changing sync.Mutex
}

// credentials makes what proves somebody beside a password. All of it hangs on the one secret.
func (a *app) credentials(origin string, keys *tokens.Keyring, tok *tokens.Tokens, s *storage, observe func(context.Context, auth.Event)) error {
	sealer, err := seal.New(seal.Config{Keys: keys, Issuer: origin})
	if err != nil {
		return err
	}
	a.factors, err = totp.New(totp.Config{Issuer: origin, ServiceName: "Doorward example", Store: s.factors, Sealer: sealer.Bytes(), Observe: observe})
	if err != nil {
		return err
	}
	a.keys, err = apikey.New(apikey.Config{Store: s.keys, Issuer: origin, Validate: a.mayStill, Observe: observe})
	if err != nil {
		return err
	}
	a.policy, err = policy.New(policy.Config{Words: []string{"Doorward"}})
	if err != nil {
		return err
	}
	a.invites, err = onetime.New(onetime.Config[invitation]{
		Tokens: tok, Store: s.links, Type: tokens.Invite, URL: origin + "/invite", State: a.free, Observe: observe,
	})
	return err
}

// A route answers with its value as JSON, with nothing (204), or with the error.
type route func(r *http.Request, p *auth.Principal) (any, error)

func (f route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, _ := auth.FromContext(r.Context()) // a guard stands before every route
	v, err := f(r, p)
	switch {
	case err != nil:
		middleware.WriteError(w, r, err)
	case v == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/json")
		if err := json.MarshalWrite(w, v); err != nil {
			log.Print("answer not sent: ", err)
		}
		_, _ = w.Write([]byte("\n"))
	}
}

// read takes a body, of which a guard has seen to size and type.
func read(r *http.Request, v any) error {
	if err := json.UnmarshalRead(r.Body, v, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: not the JSON object that is expected", auth.RequestMalformed) // err quotes what was typed
	}
	return nil
}

func readCode(r *http.Request) (string, error) {
	var in struct {
		Code string `json:"code"`
	}
	err := read(r, &in)
	return in.Code, err
}

func (a *app) me(_ *http.Request, p *auth.Principal) (any, error) {
	return struct {
		Subject string    `json:"subject"`
		Roles   []string  `json:"roles"`
		Expires time.Time `json:"expires"`
	}{p.Subject, p.Roles, p.Expires}, nil
}

func (a *app) secret(*http.Request, *auth.Principal) (any, error) {
	return map[string]string{"secret": "the coffee is in the second drawer"}, nil
}

// shred stands for what is not to be undone.
func (a *app) shred(*http.Request, *auth.Principal) (any, error) {
	return map[string]string{"shredded": "everything"}, nil
}

func (a *app) report(_ *http.Request, p *auth.Principal) (any, error) {
	return map[string]any{"report": "all is well", "for": p.Subject}, nil
}

// secondFactor is asked at each login, after the password. Whether a user has a factor stands in the users table, and never
// follows from what a store of factors has or has lost, but for the moment in which one comes or goes.
func (a *app) secondFactor(ctx context.Context, p *auth.Principal, code string) error {
	row, ok := a.users.read(p.Subject)
	switch {
	case !ok:
		return auth.LoginFailed
	case row.factor == changing:
		status, err := a.factors.Status(ctx, p.Subject)
		if err != nil || !status.Active {
			return err
		}
	case row.factor == "":
		return nil
	}
	if code == "" {
		return auth.SecondFactorRequired
	}
	if totp.IsRecoveryCode(code) {
		return a.recover(ctx, p, row, code)
	}
	err := a.factors.Verify(ctx, p.Subject, code)
	p.Methods = append(p.Methods, "otp", "mfa")
	return err
}

// recover takes a recovery code, when the phone is gone. Who has the phone may have its sessions, so they all end, and this one
// begins at the version of that ending, if it is the only one since the password was read: a login that somebody has ended
// meanwhile stays dead. A real application mails the user too, and shows him his API keys, which go on.
func (a *app) recover(ctx context.Context, p *auth.Principal, row user, code string) error {
	if p.Version < row.numbers.EndedBelow { // ended before the row was read, so that the count below does not tell
		return auth.LoginFailed
	}
	if _, err := a.factors.Recover(ctx, p.Subject, code); err != nil {
		return err
	}
	if err := a.sessions.EndAll(ctx, p.Subject); err != nil {
		return err
	}
	now, ok := a.users.read(p.Subject)
	if !ok || now.endings != row.endings+1 {
		return auth.LoginFailed
	}
	p.Version, p.Methods = now.numbers.EndedBelow, append(p.Methods, "mfa")
	return nil
}

// enrol shows a new secret, this once. Nothing is asked for yet.
func (a *app) enrol(r *http.Request, p *auth.Principal) (any, error) {
	key, err := a.factors.Begin(r.Context(), p.Subject, p.Subject)
	if err != nil {
		return nil, err
	}
	svg, err := key.SVG()
	return map[string]string{"secret": key.Secret(), "uri": key.URI(), "svg": svg}, err
}

// unchanged puts back what the users table said of a factor that was refused a change. Where it is not known whether there was one,
// the store of factors decides until the next.
func (a *app) unchanged(name, before string, err error) error {
	if code := auth.CodeOf(err); code != auth.ValidationFailed && code != auth.LoginFailed && code != auth.RateLimited {
		return nil
	}
	return a.users.settleFactor(name, before)
}

// confirm takes the first code of the app: from now on logins ask for one, and where somebody else was logged in he is not.
func (a *app) confirm(r *http.Request, p *auth.Principal) (any, error) {
	code, err := readCode(r)
	if err != nil {
		return nil, err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	before, err := a.users.swapFactor(p.Subject, changing)
	if err != nil {
		return nil, err
	}
	codes, err := a.factors.Confirm(r.Context(), p.Subject, code)
	if err != nil {
		return nil, errors.Join(err, a.unchanged(p.Subject, before, err))
	}
	// The codes are shown in any case, since it is for this once.
	if err := errors.Join(a.users.settleFactor(p.Subject, active), a.sessions.EndOthers(r.Context(), p.Subject, p.Session)); err != nil {
		log.Print("after an enrolment: ", err)
	}
	return map[string][]string{"recovery_codes": codes.List()}, nil
}

// remove takes a code of the factor that goes.
func (a *app) remove(r *http.Request, p *auth.Principal) (any, error) {
	code, err := readCode(r)
	if err != nil {
		return nil, err
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	before, err := a.users.swapFactor(p.Subject, changing)
	if err != nil {
		return nil, err
	}
	if err := a.factors.Remove(r.Context(), p.Subject, code); err != nil {
		return nil, errors.Join(err, a.unchanged(p.Subject, before, err))
	}
	if err := a.users.settleFactor(p.Subject, ""); err != nil {
		return nil, err
	}
	return nil, a.sessions.EndOthers(r.Context(), p.Subject, p.Session)
}

// mayStill is asked whenever a key is used: it can no more than its owner can by now.
func (a *app) mayStill(ctx context.Context, p *auth.Principal) error {
	owner, err := a.users.Load(ctx, p.Subject, "")
	if auth.CodeOf(err) == auth.LoginFailed {
		return fmt.Errorf("%w: the key's owner is gone", auth.APIKeyInvalid)
	}
	if err != nil {
		return err
	}
	p.Competencies = slices.DeleteFunc(p.Competencies, func(c string) bool { return !slices.Contains(owner.Competencies, c) })
	return nil
}

// createKey shows a key, this once. Nobody makes one that can more than he can himself.
func (a *app) createKey(r *http.Request, p *auth.Principal) (any, error) {
	var in struct {
		Name   string   `json:"name"`
		Scopes []string `json:"scopes"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if len(in.Scopes) == 0 || !p.Can(in.Scopes...) {
		return nil, fmt.Errorf("%w: of %q", auth.CompetencyMissing, in.Scopes)
	}
	secret, key, err := a.keys.Create(r.Context(), apikey.Spec{Subject: p.Subject, Tenant: p.Tenant, Name: in.Name, Scopes: in.Scopes})
	if err != nil {
		return nil, err
	}
	return map[string]any{"key": secret.Reveal(), "id": key.ID, "expires": key.Expires}, nil
}

func (a *app) listKeys(r *http.Request, p *auth.Principal) (any, error) {
	type listed struct {
		ID       string    `json:"id"`
		Name     string    `json:"name"`
		Scopes   []string  `json:"scopes"`
		Expires  time.Time `json:"expires"`
		LastUsed time.Time `json:"last_used,omitzero"`
	}
	keys, err := a.keys.List(r.Context(), p.Subject, p.Tenant)
	list := make([]listed, len(keys))
	for i, k := range keys {
		list[i] = listed{k.ID, k.Name, k.Scopes, k.Expires, k.LastUsed}
	}
	return map[string][]listed{"keys": list}, err
}

func (a *app) revokeKey(r *http.Request, p *auth.Principal) (any, error) {
	return nil, a.keys.Revoke(r.Context(), p.Subject, p.Tenant, r.PathValue("id"))
}

// An invitation is what its link says, so that nobody who has it can choose another role.
type invitation struct{ Role string }

// free is what an invitation hangs on: it is dead when there is a user of the name.
func (a *app) free(_ context.Context, name string, _ invitation) ([]string, error) {
	if _, taken := a.users.read(name); taken {
		return nil, fmt.Errorf("%w: there is a user of this name", auth.NotFound)
	}
	return []string{"free"}, nil
}

// invite answers with the link that a real application puts into a mail.
func (a *app) invite(r *http.Request, p *auth.Principal) (any, error) {
	var in struct {
		Account string `json:"account"`
		Role    string `json:"role"`
	}
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if _, known := may[in.Role]; !known || in.Account == "" {
		return nil, fmt.Errorf("%w: an invitation needs an account and a role", auth.ValidationFailed)
	}
	link, err := a.invites.Issue(r.Context(), in.Account, invitation{in.Role}, 0)
	if err != nil {
		return nil, err
	}
	return map[string]any{"link": link.URL.Reveal(), "expires": link.Expires}, nil
}

// invitePage is where the link leads. Opening it uses nothing up; its form does, if the password is good enough.
func (a *app) invitePage() (http.Handler, error) {
	return a.invites.Page(onetime.Page[invitation]{
		Title: "Welcome", Button: "Join", Text: "Choose a password, and you are in.",
		Fields: `<p><label>Password, 15 characters or more <input type="password" name="password" autocomplete="new-password" required></label></p>`,
		Form: func(r *http.Request, t onetime.Token[invitation]) (func(http.ResponseWriter) error, error) {
			pw := r.PostForm.Get("password")
			if err := a.policy.Check(r.Context(), pw, t.Subject); err != nil {
				return nil, err
			}
			hash, err := a.users.hasher.Hash(r.Context(), pw) // may be told to come back later
			if err != nil {
				return nil, err
			}
			return func(w http.ResponseWriter) error {
				if !a.users.add(t.Subject, hash, t.Payload.Role) {
					return fmt.Errorf("%w: there is a user of this name", auth.NotFound)
				}
				http.Redirect(w, r, "/", http.StatusSeeOther)
				return nil
			}, nil
		},
	})
}
