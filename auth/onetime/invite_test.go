package onetime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/onetime"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// invitation is a payload as applications have them.
type invitation struct {
	Club, Resource, Mail, Role string
}

// clubs is an application whose users are invited into a club, an organisation: the subject of an invitation is its own id.
type clubs struct {
	*world
	open    map[string]bool // invitations that stand
	mails   map[string]string
	members []string
	invites *onetime.Kind[invitation]
}

func newClubs(t *testing.T) *clubs {
	c := &clubs{world: setup(t), open: map[string]bool{"i1": true, "i2": true}, mails: map[string]string{"ann": "ann@example.com", "bob": "bob@example.com"}}
	var err error
	c.invites, err = onetime.New(onetime.Config[invitation]{
		Tokens: c.tokens, Store: c.store, Type: tokens.Invite, URL: base,
		State: func(_ context.Context, id string, _ invitation) ([]string, error) {
			if !c.open[id] {
				return nil, auth.NotFound
			}
			return []string{"open"}, nil
		},
		// Whoever is logged in must have the address that was invited, whatever organisation his login is of.
		Who: func(_ context.Context, p *auth.Principal, t onetime.Token[invitation]) error {
			if p == nil || c.mails[p.Subject] != t.Payload.Mail {
				return fmt.Errorf("%w: not the one who was invited", auth.TokenInvalid)
			}
			return nil
		},
	})
	ok(t, err)
	return c
}

// accept is the route POST /{club}/join: what counts is what the token says.
func (c *clubs) accept(w http.ResponseWriter, r *http.Request) {
	var in struct{ Token string }
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		middleware.WriteError(w, r, fmt.Errorf("%w: %w", auth.ValidationFailed, err))
		return
	}
	t, err := c.invites.Check(r.Context(), in.Token)
	if err == nil && t.Payload.Club != r.PathValue("club") {
		err = fmt.Errorf("%w: an invitation of another club", auth.TokenInvalid)
	}
	if err == nil {
		t, err = c.invites.Redeem(r.Context(), in.Token)
	}
	if err != nil {
		middleware.WriteError(w, r, err)
		return
	}
	p, _ := auth.FromContext(r.Context())
	c.members = append(c.members, t.Payload.Club+"/"+p.Subject+" "+t.Payload.Role)
}

func (c *clubs) post(subject, club, body string) int {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{club}/join", c.accept)
	r := httptest.NewRequest("POST", "/"+club+"/join", strings.NewReader(body))
	if subject != "" {
		r = r.WithContext(as(&auth.Principal{Issuer: issuer, Tenant: "home", Subject: subject}))
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Code
}

// ATK-L19: for organisation A accepted in B, with other email, with higher role by edited body or token.
func TestATK_L19(t *testing.T) {
	c := newClubs(t)
	l, err := c.invites.Issue(ctx, "i1", invitation{"club-a", "doc-7", "ann@example.com", "reader"}, 0)
	ok(t, err)
	raw := l.Token.Reveal()
	for _, try := range []struct {
		name, subject, club, body string
		status                    int
	}{
		{"in club B", "ann", "club-b", `{"Token":"` + raw + `"}`, 401},
		{"with other email", "bob", "club-a", `{"Token":"` + raw + `"}`, 401},
		{"by nobody", "", "club-a", `{"Token":"` + raw + `"}`, 401},
		{"a role in the body", "ann", "club-a", `{"Token":"` + raw + `","Role":"admin"}`, 422},
		{"a club in the body", "ann", "club-b", `{"Token":"` + raw + `","Club":"club-a"}`, 422},
		{"a role in the token", "ann", "club-a", `{"Token":"` + retyped(raw, "reader", "admin!") + `"}`, 401},
		{"a club in the token", "ann", "club-b", `{"Token":"` + retyped(raw, "club-a", "club-b") + `"}`, 401},
		{"an address in the token", "bob", "club-a", `{"Token":"` + retyped(raw, "ann@", "bob@") + `"}`, 401},
	} {
		if status := c.post(try.subject, try.club, try.body); status != try.status || len(c.members) > 0 {
			t.Errorf("%s: got %d, expected %d; members %q", try.name, status, try.status, c.members)
		}
	}
	if status := c.post("ann", "club-a", `{"Token":"`+raw+`"}`); status != 200 || !slices.Equal(c.members, []string{"club-a/ann reader"}) {
		t.Errorf("got %d, members %q", status, c.members)
	}
	if status := c.post("ann", "club-a", `{"Token":"`+raw+`"}`); status != 401 || len(c.members) != 1 {
		t.Errorf("twice: got %d, members %q", status, c.members)
	}

	// An invitation that was taken back.
	l, err = c.invites.Issue(ctx, "i2", invitation{"club-a", "doc-7", "ann@example.com", "reader"}, 0)
	ok(t, err)
	c.open["i2"] = false
	if status := c.post("ann", "club-a", `{"Token":"`+l.Token.Reveal()+`"}`); status != 401 || len(c.members) != 1 {
		t.Errorf("taken back: got %d, members %q", status, c.members)
	}
}
