package password

import (
	"context"
	"fmt"
	"time"

	"github.com/doorward/doorward/auth"
)

// Upgrade verifies as Verify does. When the password is right and its hash is of an older scheme, cost or
// pepper, it makes a new one and calls replace: once, and after the password was found right.
//
// replace stores fresh where old still stands, and only there (UPDATE ... SET hash = fresh WHERE id = ... AND
// hash = old): of several logins at once one replaces the hash, and a password that was changed meanwhile stays
// changed. It returns nil also where nothing was replaced for that reason.
//
// That it fails, or that there was no room for a new hash, does not fail the login: the next one tries again. It is
// told to Config.Observe.
func (h *Hasher) Upgrade(ctx context.Context, hash, password string, replace func(ctx context.Context, old, fresh string) error) error {
	stale, err := h.Verify(ctx, hash, password)
	if err != nil || !stale {
		return err
	}
	fresh, err := h.Hash(ctx, password)
	if err == nil {
		if err = replace(ctx, hash, fresh); err != nil {
			err = fmt.Errorf("password: the new hash was not stored: %w", err)
		}
	}
	if h.observe != nil {
		e := auth.Event{Name: "rehash", Outcome: "ok", Time: time.Now(), Err: err}
		if err != nil {
			e.Outcome = string(auth.CodeOf(err))
		}
		h.observe(ctx, e)
	}
	return nil
}
