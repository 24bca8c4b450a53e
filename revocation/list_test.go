package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
)

// fixed is a list whose every answer is this error.
type fixed struct{ err error }

func (f fixed) Check(context.Context, *auth.Principal) error     { return f.err }
func (f fixed) Revoke(context.Context, ...auth.Revocation) error { return f.err }
func (f fixed) Epoch(context.Context) (string, error)            { return "EPOCHEPO", f.err }

// Only an explicit option lets tokens through an outage, and nothing but an outage.
func TestIgnoreOutage_STD_S10(t *testing.T) {
	down := fmt.Errorf("%w: no route to host", auth.StoreUnavailable)
	for _, test := range []struct {
		name    string
		err     error
		ignored bool
	}{
		{"fine", nil, true},
		{"outage", down, true},
		{"outage, wrapped", fmt.Errorf("list: %w", down), true},
		{"epoch missing or changed", fmt.Errorf("%w: epoch", auth.TokenExpired), false},
		{"revoked", fmt.Errorf("%w: session", auth.TokenRevoked), false},
		{"revoked, then unavailable", fmt.Errorf("%w: then %w", auth.TokenRevoked, down), false},
		{"ATK-D07 unreadable", fmt.Errorf("%w: %w", auth.StoreUnavailable, revocation.ErrUnreadable), false},
		{"busy", fmt.Errorf("%w", auth.Busy), false},
		{"without a code", errors.New("broken"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := revocation.IgnoreOutage(fixed{test.err})
			if err := l.Check(t.Context(), &auth.Principal{}); (err == nil) != test.ignored || err != nil && !errors.Is(err, test.err) {
				t.Errorf("Check: got %v for %v, want it ignored: %v", err, test.err, test.ignored)
			}
			if err := l.Revoke(t.Context(), auth.Revocation{}); !errors.Is(err, test.err) {
				t.Errorf("Revoke: got %v, want %v: an ending that did not happen must be told", err, test.err)
			}
			if ep, err := l.Epoch(t.Context()); ep != "EPOCHEPO" || !errors.Is(err, test.err) {
				t.Errorf("Epoch: got %q, %v, want the list's own", ep, err)
			}
		})
	}
}

// A client that hangs up makes the list's answer fail. It must not gain by it.
func TestIgnoreOutage_ClientHangsUp(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	l := revocation.IgnoreOutage(fixed{fmt.Errorf("%w: %w", auth.StoreUnavailable, ctx.Err())})
	if err := l.Check(ctx, &auth.Principal{}); auth.CodeOf(err) != auth.StoreUnavailable {
		t.Errorf("got %v, want the code %s", err, auth.StoreUnavailable)
	}
}

func TestIgnoreOutage_Nil(t *testing.T) {
	if l := revocation.IgnoreOutage(nil); l != nil {
		t.Errorf("got %v, want nil, so that whoever takes it sees that there is none", l)
	}
}
