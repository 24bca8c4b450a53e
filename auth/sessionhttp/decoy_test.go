package sessionhttp_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/sessionhttp"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/tokens"
)

// ATK-L01: where a password is off, Login is asked all the same, with a password that nobody has: the answer takes as long as
// that to a wrong one. What Login says then lets nobody in.
func TestLogin_ATK_L01_AnOffPasswordAsksLogin(t *testing.T) {
	var asked []string
	w := setup(t, func(c *sessionhttp.Config) {
		login := c.Login
		c.Login = func(ctx context.Context, account, password string) (*auth.Principal, error) {
			asked = append(asked, password)
			if password != "wrong" { // as bad as an application can be
				password = "right"
			}
			return login(ctx, account, password)
		}
		c.Limit.Failures, c.Limit.Keys = usedUp{}, tokens.NewKeyring(tokens.FromSecret([]byte("u8Zq-3bXk9_Lr2Vd5Nf7Hs1Tg4Ym6Pc0Wj-a")))
		c.Limit.Subject = func(_ context.Context, account string) (string, error) { return account, nil }
	})
	got := w.program().do("POST", "/login", `{"account":"ann","password":"right"}`)
	if got.Code != http.StatusUnauthorized || len(asked) != 1 || asked[0] == "right" || len(asked[0]) < 26 {
		t.Errorf("got %d %s, asked for %q", got.Code, got.Body, asked)
	}
	w.users.fail(auth.Busy)
	if got := w.program().do("POST", "/login", `{"account":"ann","password":"right"}`); got.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
}

// usedUp is a count of failures that has reached its end for everybody.
type usedUp struct{ middleware.Failures }

func (usedUp) Take(context.Context, string, int, time.Duration) (string, error) { return "", nil }
