package sessionhttp

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/ratelimit"
)

// handler holds a Config as New completed it.
type handler struct {
	Config
	access               auth.Authenticator
	bySession, byNetwork middleware.Middleware // limits of refreshes
	byLogins             middleware.Middleware // of what leaves an entry on the list
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var in struct {
		Account  string `json:"account"`
		Password string `json:"password"`
		Code     string `json:"code"`
		Remember bool   `json:"remember"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.Code != "" && h.SecondFactor == nil { // whoever sends one believes that it is asked for
		return &invalid{map[string]string{"code": "unknown"}}
	}
	if in.Remember && !h.Sessions.Remembers() {
		return &invalid{map[string]string{"remember": "unknown"}}
	}
	p, err := h.Login(ctx, in.Account, in.Password)
	if err != nil {
		return h.refused(r, "Login", in.Account, err)
	}
	if h.SecondFactor != nil && p != nil {
		if err := h.SecondFactor(ctx, p, in.Code); in.Code == "" && auth.CodeOf(err) == auth.SecondFactorRequired {
			// Told by name: at his own login it is the user, else somebody who has his password (ASVS 5.0 V6.3.5).
			h.Observe(ctx, auth.Event{
				Name: "login", Outcome: string(auth.SecondFactorRequired), Time: time.Now(), Client: auth.ClientOf(r),
				Owner: auth.Owner{Issuer: h.Sessions.Issuer(), Subject: p.Subject},
			})
			return err
		} else if err != nil {
			return h.refused(r, "SecondFactor", in.Account, err)
		}
	}
	if p == nil {
		return errors.New("sessionhttp: Login returned neither an error nor a principal")
	}
	return h.limited(w, r, p.Subject, func(w http.ResponseWriter, r *http.Request) error {
		return h.begin(w, r, session.Login{Principal: p, Client: auth.ClientOf(r), Remember: in.Remember})
	})
}

// limited lets what leaves an entry of the subject's on the revocation list happen so often.
func (h *handler) limited(w http.ResponseWriter, r *http.Request, subject string, do endpoint) error {
	h.byLogins(do).ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), loginOf{}, subject)))
	return nil
}

type loginOf struct{}

// subjectKey is the budget of the subject whose logins are counted.
func (h *handler) subjectKey(r *http.Request) string {
	subject, _ := r.Context().Value(loginOf{}).(string)
	issuer := h.Sessions.Issuer()
	return "logins:" + strconv.Itoa(len(issuer)) + ":" + issuer + subject
}

// begin starts the session of a login that is complete.
func (h *handler) begin(w http.ResponseWriter, r *http.Request, l session.Login) error {
	pair, err := h.Sessions.Start(r.Context(), l)
	if pair == nil {
		return err
	}
	// With a pair the login is complete. That the end of another session is not confirmed yet is told by Sessions.
	h.leave(r, l.Principal)
	if err := h.give(w, r, pair); err != nil {
		// Nobody has its tokens, so it must not stand in the list for a month.
		return errors.Join(err, h.Sessions.Logout(r.Context(), pair.Refresh))
	}
	return nil
}

// leave ends the session whose cookie a login is about to replace: nobody has it any more. A login that names a
// session itself (a step-up) has replaced it already. That it fails is told by Sessions, and costs nobody his login.
func (h *handler) leave(r *http.Request, p *auth.Principal) {
	if h.Bearer || p.Session != "" {
		return
	}
	if old, err := h.Jar.Refresh(r); err == nil {
		_ = h.Sessions.Logout(r.Context(), old)
	}
}

// refused tells the observer, and gives the client one of two answers. Whatever says more than "no" of an
// account is "no": a users table whose own errors came through would tell which accounts exist (ATK-L01).
func (h *handler) refused(r *http.Request, by, account string, err error) error {
	name, outcome := "login", string(auth.CodeOf(err))
	switch auth.CodeOf(err) {
	case auth.LoginFailed, auth.Busy, auth.RateLimited:
	case auth.StoreUnavailable:
		name, outcome = "outage", "login"
	case auth.Internal:
		// The one error without a code that is no outage: a query for an account that found none.
		if errors.Is(err, sql.ErrNoRows) {
			outcome, err = string(auth.LoginFailed), fmt.Errorf("%w: sessionhttp: %s: %w", auth.LoginFailed, by, err)
			break
		}
		name, outcome, err = "outage", "login", fmt.Errorf("%w: sessionhttp: %s: %w", auth.StoreUnavailable, by, err)
	default:
		err = fmt.Errorf("%w: sessionhttp: %s: %v", auth.LoginFailed, by, err) // without %w: its headers and fields would tell as well
	}
	named, _ := h.Limit.Named(account)
	h.Observe(r.Context(), auth.Event{
		Name: name, Outcome: outcome, Time: time.Now(), Account: named, Client: auth.ClientOf(r), Err: err,
	})
	return err
}

// shown says of a refusal what the client has shown.
func (h *handler) shown(err error) error {
	if h.Bearer {
		return auth.RefreshToken.Refuse(err)
	}
	return auth.SessionCookie.Refuse(err)
}

func (h *handler) refresh(w http.ResponseWriter, r *http.Request) (err error) {
	var token string
	if h.Bearer {
		token, err = refreshToken(r)
	} else {
		token, err = h.Jar.Refresh(r)
	}
	if err != nil {
		return h.shown(err)
	}
	return h.mint(w, r, "refresh", token, func(w http.ResponseWriter, r *http.Request) error { return h.exchange(w, r, token) })
}

// mint lets exchange answer with what it makes of a refresh token, within the limits. kind has a budget of its own: who
// narrows does not use the token up, and could hold the budget empty that the owner needs to rotate it.
func (h *handler) mint(w http.ResponseWriter, r *http.Request, kind, token string, exchange endpoint) error {
	within := func(limit middleware.Middleware, do endpoint) error {
		limit(endpoint(func(w http.ResponseWriter, r *http.Request) error { return h.shown(do(w, r)) })).ServeHTTP(w, r)
		return nil
	}
	id, err := h.Sessions.SessionOf(token)
	if err != nil { // no token of ours: it costs the network, before any store is asked
		return within(h.byNetwork, exchange)
	}
	// The session's budget stops minting and never judging: whoever has a copy of the token could keep the budget empty, and
	// the owner's older token, by which the theft is seen, would not be judged. So Lend, which writes nothing, is asked first.
	ofPage := h.isOfPage(r, id)
	_, err = h.Sessions.Lend(r.Context(), token, auth.ClientOf(r))
	switch {
	case err == nil && ofPage == nil:
		r = r.WithContext(context.WithValue(r.Context(), refreshOf{}, kind+":"+id))
		return within(h.bySession, exchange)
	case err == nil:
		err = ofPage
	case isOutage(err): // nobody knows what this token is: it must not come to an exchange without a limit
	case session.MayEnd(err): // an older one: the exchange ends the session, which happens once
		err = exchange(w, r)
	case session.Ended(err):
		err = h.dead(w, r, id, err, exchange)
	case ofPage != nil && auth.CodeOf(err) != auth.TokenExpired:
		err = ofPage
	}
	// A refusal that changes nothing costs the network, and not the session, whose owner would be locked out by whoever
	// repeats it. An end is told whatever the network has done, since all clients of an office may learn of theirs at once.
	if err == nil || session.Ended(err) || isOutage(err) {
		return h.shown(err)
	}
	return within(h.byNetwork, func(http.ResponseWriter, *http.Request) error { return err })
}

// dead answers a token that will never work again. The exchange ends what may still be there, which a store does once; so
// whoever shows a dead token again and again is told what Lend has said.
func (h *handler) dead(w http.ResponseWriter, r *http.Request, id string, err error, exchange endpoint) error {
	cost := ratelimit.Cost{Key: "refresh:dead:" + id, Rate: deadPerSession, Hidden: true}
	if d, down := h.Limit.Limiter.Take(r.Context(), cost); down == nil && d.OK {
		return exchange(w, r)
	}
	if h.Bearer {
		return err
	}
	return errors.Join(err, h.Jar.Clear(w, r))
}

func isOutage(err error) bool {
	code := auth.CodeOf(err)
	return code == auth.StoreUnavailable || code == auth.Internal
}

type refreshOf struct{}

// refreshKey is the budget of the session that a refresh, or a narrowing, is of.
func refreshKey(r *http.Request) string {
	key, _ := r.Context().Value(refreshOf{}).(string)
	return key
}

func (h *handler) exchange(w http.ResponseWriter, r *http.Request, token string) error {
	if h.Bearer {
		pair, err := h.Sessions.Refresh(r.Context(), token, auth.ClientOf(r))
		if err != nil {
			return err
		}
		return h.give(w, r, pair)
	}
	// Another tab, or RefreshFromCookie before this, may have rotated a moment ago. A second swap would make a
	// grandparent of the token that parallel requests still carry, and end the session for it: RefreshCookie makes
	// none. Late showings, which it forgives for a minute, are not forgiven here, where they come from no slow upload.
	pair, err := h.Sessions.RefreshCookie(r.Context(), token, auth.ClientOf(r))
	if auth.CodeOf(err) == auth.TokenExpired {
		pair, err = h.Sessions.Refresh(r.Context(), token, auth.ClientOf(r))
	}
	if err != nil {
		if session.Ended(err) { // never because of a race or an outage: the cookie may still be good
			err = errors.Join(err, h.Jar.Clear(w, r))
		}
		return err
	}
	return h.give(w, r, pair)
}

// narrow gives a program an access token for one organisation, by the refresh token of a session that is not limited.
func (h *handler) narrow(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Token  string `json:"refresh_token"`
		Tenant string `json:"tenant"`
	}
	if err := decode(r, &in); err != nil {
		return err
	}
	missing := map[string]string{}
	for name, value := range map[string]string{"refresh_token": in.Token, "tenant": in.Tenant} {
		if value == "" {
			missing[name] = "required"
		}
	}
	if len(missing) > 0 {
		return &invalid{missing}
	}
	return h.mint(w, r, "narrow", in.Token, func(w http.ResponseWriter, r *http.Request) error {
		pair, err := h.Sessions.Narrow(r.Context(), in.Token, in.Tenant, auth.ClientOf(r))
		if err != nil {
			return err
		}
		return write(w, answer{Session: pair.Session, ExpiresIn: seconds(pair.AccessExpires), TokenType: "Bearer", Access: pair.Access})
	})
}

// logout answers 204 when what was shown works nowhere any more.
func (h *handler) logout(w http.ResponseWriter, r *http.Request) error {
	if h.Bearer {
		token, err := refreshToken(r)
		if err == nil {
			err = h.Sessions.Logout(r.Context(), token)
		}
		// RFC 7009 section 2.2: what is no token of ours is not valid already.
		if err != nil && auth.CodeOf(err) != auth.TokenInvalid {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	var id string
	token, err := h.Jar.Refresh(r)
	if err == nil {
		id, err = h.Sessions.SessionOf(token)
		if auth.CodeOf(err) == auth.TokenInvalid { // nothing that ever came from us
			err = auth.CredentialsMissing
		}
	}
	if err == nil {
		// Whether the cookie is of the page's session is seen without I/O. So neither a subject that is no member any
		// more nor an outage of the users table keeps anybody from ending his own.
		if refused := h.isOfPage(r, id); refused == nil {
			err = h.Sessions.Logout(r.Context(), token)
		} else if _, lent := h.Sessions.Lend(r.Context(), token, auth.ClientOf(r)); session.Ended(lent) {
			err = auth.CredentialsMissing // the cookie's session is over: what the page has is its access token
		} else {
			return refused
		}
	}
	if err != nil && auth.CodeOf(err) == auth.CredentialsMissing {
		err = h.endByAccess(r)
	}
	if err != nil {
		return err // a seal or a key that this node does not know, an outage: the session may live
	}
	return h.gone(w, r, id)
}

// endByAccess ends the session of the access token, where there is no refresh token to do it by.
func (h *handler) endByAccess(r *http.Request) error {
	p, err := h.access.Authenticate(r)
	switch auth.CodeOf(err) {
	case auth.CredentialsMissing, auth.TokenExpired, auth.TokenInvalid, auth.TokenRevoked:
		return nil // nothing here that works
	}
	if err != nil || p.Session == "" {
		return err
	}
	if err = h.Sessions.End(r.Context(), p.Subject, p.Session); err != nil && auth.CodeOf(err) == auth.NotFound {
		return nil
	}
	return err
}

func (h *handler) whoAmI(w http.ResponseWriter, r *http.Request) error {
	p, err := principal(r.Context())
	if err != nil {
		return err
	}
	return write(w, struct {
		Subject      string    `json:"subject"`
		Tenant       string    `json:"tenant,omitzero"`
		Session      string    `json:"session"`
		Roles        []string  `json:"roles"`
		Competencies []string  `json:"competencies"`
		Methods      []string  `json:"methods"`
		AuthTime     time.Time `json:"auth_time,omitzero"`
		Expires      time.Time `json:"expires"`
	}{p.Subject, p.Tenant, p.Session, p.Roles, p.Competencies, p.Methods, p.AuthTime, p.Expires})
}

// A listed session has what its owner recognises it by. The user agent is not in it: the device is what
// is harmless of it.
type listed struct {
	ID       string     `json:"id"`
	Current  bool       `json:"current"`
	Device   string     `json:"device"`
	Address  netip.Addr `json:"address,omitzero"`
	Place    string     `json:"place,omitzero"`
	Tenant   string     `json:"tenant,omitzero"`
	Remember bool       `json:"remember,omitzero"`
	Methods  []string   `json:"methods"`
	Created  time.Time  `json:"created"`
	LastUsed time.Time  `json:"last_used"`
	Expires  time.Time  `json:"expires"` // unless it is used
	Ends     time.Time  `json:"ends"`    // in any case
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	p, err := principal(r.Context())
	if err != nil {
		return err
	}
	rows, err := h.Sessions.List(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	list := make([]listed, len(rows))
	for i, s := range rows {
		list[i] = listed{s.ID, s.ID == p.Session, s.Device, s.Client.Addr, s.Place, s.Tenant, s.Remember, s.Methods,
			second(s.Created), second(s.Used), second(s.IdleUntil), second(s.Until)}
	}
	return write(w, map[string][]listed{"sessions": list})
}

// second is a time as people read it; stores differ in what they keep below that.
func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func (h *handler) endAll(w http.ResponseWriter, r *http.Request) error {
	p, err := principal(r.Context())
	if err != nil {
		return err
	}
	switch r.URL.RawQuery {
	case "except=current":
		return h.limited(w, r, p.Subject, func(w http.ResponseWriter, r *http.Request) error {
			if err := h.Sessions.EndOthers(r.Context(), p.Subject, p.Session); err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		})
	case "":
		return h.limited(w, r, p.Subject, func(w http.ResponseWriter, r *http.Request) error {
			if err := h.Sessions.EndAll(r.Context(), p.Subject); err != nil {
				return err
			}
			return h.gone(w, r, p.Session)
		})
	}
	return fmt.Errorf("%w: the query of DELETE sessions: got %q, expected none or except=current", auth.RequestMalformed, auth.Printable(r.URL.RawQuery, 64))
}

func (h *handler) end(w http.ResponseWriter, r *http.Request) error {
	p, err := principal(r.Context())
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := h.Sessions.End(r.Context(), p.Subject, id); err != nil {
		return err
	}
	if id == p.Session {
		return h.gone(w, r, id)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// gone answers a client whose own session, that of the id, has ended.
func (h *handler) gone(w http.ResponseWriter, r *http.Request, id string) error {
	if !h.Bearer && !h.ofAnother(r, id) {
		if err := h.Jar.Clear(w, r); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// principal is who asks. An API key or a service token has no session, and no business with its owner's; a
// verifier that lets one through is not the one that Config.Access asks for.
func principal(ctx context.Context) (*auth.Principal, error) {
	p, ok := auth.FromContext(ctx)
	switch {
	case !ok:
		return nil, auth.CredentialsMissing
	case p.Session == "":
		return nil, fmt.Errorf("%w: sessionhttp: the token is of no session", auth.TokenInvalid)
	}
	return p, nil
}
