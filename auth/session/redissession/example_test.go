package redissession_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/auth/session/redissession"
	"github.com/doorward/doorward/revocation/redisrev"
	"github.com/doorward/doorward/tokens"
)

// One Redis holds the list and the sessions, for any number of processes.
func Example() {
	client := redis.NewClient(&redis.Options{Addr: "redis:6379"})
	list, err := redisrev.New(redisrev.Config{Client: client, Prefix: "app"})
	if err != nil {
		log.Fatal(err)
	}
	store, err := redissession.New(list)
	if err != nil {
		log.Fatal(err)
	}
	keys := tokens.NewKeyring(tokens.FromSecret([]byte(tokens.GenerateSecret())))
	access, err := tokens.New(tokens.Config{Keys: keys, Issuer: "https://app.example.com", Audience: "app", List: list})
	if err != nil {
		log.Fatal(err)
	}
	// The users table has no columns for the versions of its users, so the store keeps them.
	subjects := session.KeepVersions(store, "https://app.example.com", func(ctx context.Context, subject, tenant string) (session.Subject, error) {
		return session.Subject{Roles: []string{"user"}}, nil // SELECT role FROM users WHERE id = subject
	})
	sessions, err := session.New(session.Config{Store: store, Tokens: access, Subjects: subjects})
	fmt.Println(sessions != nil, err)
	// Output: true <nil>
}
