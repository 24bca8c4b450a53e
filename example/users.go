package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

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
	numbers session.Numbers // three columns: version, ended_below, except
}

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
		if err := u.add(d.name, pw, d.roles...); err != nil {
			return nil, "", err
		}
		hint += fmt.Sprintf("  TOKENS=$(curl -s %%[1]s/token/login --json '{\"account\":\"%s\",\"password\":\"%s\"}')\n", d.name, pw)
	}
	hint += "\n  TOKEN=$(echo \"$TOKENS\" | sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')\n  curl -i -H \"Authorization: Bearer $TOKEN\" %[1]s/me\n\n"
	return u, hint, nil
}

func (u *users) add(name, pw string, roles ...string) error {
	hash, err := u.hasher.Hash(context.Background(), pw)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rows[name] = &user{hash: hash, roles: roles, numbers: session.Numbers{Version: 1}}
	return nil
}

// login proves a user by password. An unknown user costs the same hash and gets the same answer.
func (u *users) login(ctx context.Context, name, pw string) (*auth.Principal, error) {
	row, _ := u.read(name)
	if _, err := u.hasher.Verify(ctx, row.hash, pw); err != nil {
		return nil, err
	}
	return &auth.Principal{Subject: name, Version: row.numbers.Version, Methods: []string{"pwd"}}, nil
}

// Load says what holds for a user today: at a login, and at every refresh.
func (u *users) Load(_ context.Context, _, name string) (session.Subject, error) {
	row, ok := u.read(name)
	if !ok {
		return session.Subject{}, auth.LoginFailed
	}
	return session.Subject{Roles: row.roles, Numbers: row.numbers}, nil
}

// Raise makes the tokens of a user stale; with end it ends the sessions too, but for one.
func (u *users) Raise(_ context.Context, _, name string, end bool, except string) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	row := u.rows[name]
	if row == nil {
		return 0, auth.LoginFailed
	}
	row.numbers.Version++
	if end {
		row.numbers.EndedBelow, row.numbers.Except = row.numbers.Version, except
	}
	return row.numbers.Version, nil
}

func (u *users) read(name string) (user, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if row := u.rows[name]; row != nil {
		return *row, true
	}
	return user{}, false
}
