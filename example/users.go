package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/session"
)

// users is the application's own table, and the session.Subjects of the kit. A real one stands in a database;
// what matters is that the password's hash and the version are read together.
type users struct {
	hasher *password.Hasher
	mu     sync.Mutex
	rows   map[string]*user
}

type user struct {
	hash    string
	roles   []string
	factor  string          // "", changing or active
	numbers session.Numbers // three columns: version, ended_below, except
	endings int             // how often the sessions were ended: so a recovery knows its own ending from another's
}

// A second factor that comes or goes is changing in the users table before and after that is so in the store of factors: a
// crash between the two leaves nobody without, and nobody locked out.
const changing, active = "changing", "active"

// may is what the roles may do: competencies, which API keys take a part of.
var may = map[string][]string{"editor": {"report:read", "report:write"}, "admin": {"report:read"}}

// demoUsers makes two users with fresh passwords, and the text that tells them.
func demoUsers() (u *users, hint string, err error) {
	hasher, err := password.New(password.Config{})
	if err != nil {
		return nil, "", err
	}
	u = &users{hasher: hasher, rows: map[string]*user{}}
	hint = "Listening on %[1]s (also in a browser). Log in as one of these:\n\n"
	for _, d := range []struct {
		name  string
		roles []string
	}{{"ann", []string{"editor"}}, {"root", []string{"admin"}}} {
		pw := rand.Text()
		hash, err := hasher.Hash(context.Background(), pw)
		if err != nil {
			return nil, "", err
		}
		u.add(d.name, hash, d.roles...)
		hint += fmt.Sprintf("  TOKENS=$(curl -s %%[1]s/token/login --json '{\"account\":\"%s\",\"password\":\"%s\"}')\n", d.name, pw)
	}
	hint += "\n  TOKEN=$(echo \"$TOKENS\" | sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')\n  curl -i -H \"Authorization: Bearer $TOKEN\" %[1]s/me\n\n"
	return u, hint, nil
}

// add makes a user, if there is none of this name yet. The version begins at the clock, so that a user who comes after another
// one of the same name has none of the other's numbers.
func (u *users) add(name, hash string, roles ...string) (added bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rows[name] != nil {
		return false
	}
	u.rows[name] = &user{hash: hash, roles: roles, numbers: session.Numbers{Version: time.Now().UnixMilli()}}
	return true
}

// login proves a user by password. An unknown user costs the same hash and gets the same answer. A hash of an older
// scheme or cost is replaced, where it still stands.
func (u *users) login(ctx context.Context, name, pw string) (*auth.Principal, error) {
	row, _ := u.read(name)
	err := u.hasher.Upgrade(ctx, row.hash, pw, func(_ context.Context, old, fresh string) error {
		return u.change(name, func(row *user) {
			if row.hash == old {
				row.hash = fresh
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return &auth.Principal{Subject: name, Version: row.numbers.Version, Methods: []string{"pwd"}}, nil
}

// Load says what holds for a user today: at a login, and at every refresh.
func (u *users) Load(_ context.Context, name, _ string) (session.Subject, error) {
	row, ok := u.read(name)
	if !ok {
		return session.Subject{}, auth.LoginFailed
	}
	var competencies []string
	for _, role := range row.roles {
		competencies = append(competencies, may[role]...)
	}
	slices.Sort(competencies)
	return session.Subject{Roles: row.roles, Competencies: slices.Compact(competencies), Numbers: row.numbers}, nil
}

// Raise makes the tokens of a user stale; with end it ends the sessions too, but for one. By the clock a table that came back
// from an older copy gives no number twice: UPDATE ... SET version = GREATEST(version + 1, the clock in ms).
func (u *users) Raise(_ context.Context, name string, end bool, except string) (int64, error) {
	var version int64
	err := u.change(name, func(row *user) {
		row.numbers.Version = max(row.numbers.Version+1, time.Now().UnixMilli())
		if end {
			row.endings++
			row.numbers.EndedBelow, row.numbers.Except = row.numbers.Version, except
		}
		version = row.numbers.Version
	})
	return version, err
}

// swapFactor writes what is so of a user's factor, and returns what was.
func (u *users) swapFactor(name, factor string) (before string, err error) {
	err = u.change(name, func(row *user) { before, row.factor = row.factor, factor })
	return before, err
}

// settleFactor ends a change, unless another one has done so: UPDATE ... WHERE factor = 'changing'.
func (u *users) settleFactor(name, factor string) error {
	return u.change(name, func(row *user) {
		if row.factor == changing {
			row.factor = factor
		}
	})
}

// change is an UPDATE of one row.
func (u *users) change(name string, f func(*user)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	row := u.rows[name]
	if row == nil {
		return auth.LoginFailed
	}
	f(row)
	return nil
}

func (u *users) read(name string) (user, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if row := u.rows[name]; row != nil {
		return *row, true
	}
	return user{}, false
}
