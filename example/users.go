package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// users is the application's own table. A real one stands in a database; what matters is that the
// password's hash and the version are read together.
type users struct {
	hasher *password.Hasher
	mu     sync.Mutex
	rows   map[string]*user
}

type user struct {
	hash    string
	roles   []string
	version int64
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
		hint += fmt.Sprintf("  TOKEN=$(curl -s %%[1]s/login --json '{\"account\":\"%s\",\"password\":\"%s\"}' | sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')\n", d.name, pw)
	}
	hint += "\n  curl -i -H \"Authorization: Bearer $TOKEN\" %[1]s/me\n\n"
	return u, hint, nil
}

func (u *users) add(name, pw string, roles ...string) error {
	hash, err := u.hasher.Hash(context.Background(), pw)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rows[name] = &user{hash: hash, roles: roles, version: 1}
	return nil
}

// login proves a user by password. An unknown user costs the same hash and gets the same answer.
func (u *users) login(ctx context.Context, name, pw string) (*auth.Principal, error) {
	u.mu.Lock()
	var row user
	if r := u.rows[name]; r != nil {
		row = *r
	}
	u.mu.Unlock()
	if _, err := u.hasher.Verify(ctx, row.hash, pw); err != nil {
		return nil, err
	}
	return &auth.Principal{Subject: name, Version: row.version, Roles: row.roles, Methods: []string{"pwd"}}, nil
}

func (u *users) raiseVersion(name string) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rows[name].version++
	return u.rows[name].version
}
