package sessionhttp

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/doorward/doorward/auth"
)

// decode reads the one JSON value of a body. Names count as they are spelled, and once; an unknown one is told
// and not skipped, since whoever sends a role with a login believes that it does something.
func decode(r *http.Request, v any) error {
	err := json.UnmarshalRead(r.Body, v, json.RejectUnknownMembers(true))
	if err == nil || errors.Is(err, auth.TooLarge) {
		return err
	}
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok && wrong.JSONPointer != "" {
		why := "wrong type"
		if wrong.Err == json.ErrUnknownName {
			why = "unknown"
		}
		return &invalid{map[string]string{auth.Printable(wrong.JSONPointer.LastToken(), 64): why}}
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok { // its own words quote what was typed
		return fmt.Errorf("%w: a fault of syntax, or a name twice, at byte %d", auth.RequestMalformed, syntax.ByteOffset)
	}
	return fmt.Errorf("%w: not one JSON object, or a body that cannot be read", auth.RequestMalformed)
}

// invalid is a body with members that are not as they should be.
type invalid struct{ fields map[string]string }

func (e *invalid) Error() string             { return fmt.Sprintf("%s: %v", auth.ValidationFailed, e.fields) }
func (e *invalid) Unwrap() error             { return auth.ValidationFailed }
func (e *invalid) Fields() map[string]string { return e.fields }

// refreshToken reads the token from a body.
func refreshToken(r *http.Request) (string, error) {
	var in struct {
		Token string `json:"refresh_token"`
	}
	if err := decode(r, &in); err != nil {
		return "", err
	}
	if in.Token == "" {
		return "", &invalid{map[string]string{"refresh_token": "required"}}
	}
	return in.Token, nil
}

// give hands a new pair to the client.
func (h *handler) give(w http.ResponseWriter, r *http.Request, pair *auth.Pair) error {
	if h.Bearer {
		return write(w, answer{
			Session: pair.Session, ExpiresIn: seconds(pair.AccessExpires), TokenType: "Bearer",
			Access: pair.Access, Refresh: pair.Refresh, RefreshExpiresIn: seconds(pair.RefreshUntil),
		})
	}
	token, err := h.CSRF.Token(&auth.Principal{Session: pair.Session})
	if err != nil {
		return err
	}
	set := *pair
	if h.InHeader {
		set.Access = ""
	}
	if err := h.Jar.Set(w, r, &set); err != nil {
		return err
	}
	if h.InHeader {
		w.Header().Set("X-Access-Token", pair.Access)
	}
	w.Header().Set("X-CSRF-Token", token)
	return write(w, answer{Session: pair.Session, ExpiresIn: seconds(pair.AccessExpires)})
}

// An answer is what a login or a refresh says. The tokens are in it with Bearer alone.
type answer struct {
	Session          string `json:"session"`
	ExpiresIn        int    `json:"expires_in"`
	TokenType        string `json:"token_type,omitzero"`
	Access           string `json:"access_token,omitzero"`
	Refresh          string `json:"refresh_token,omitzero"`
	RefreshExpiresIn int    `json:"refresh_expires_in,omitzero"`
}

// seconds are whole ones, rounded down: a client that waits for them is not late.
func seconds(until time.Time) int { return max(0, int(time.Until(until)/time.Second)) }

// write answers with JSON that is safe to stand in HTML too.
func write(w http.ResponseWriter, v any) error {
	text, err := json.Marshal(v, jsontext.EscapeForHTML(true), json.FormatNilSliceAsNull(false))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // the client may be gone; there is nobody to tell
	return nil
}
