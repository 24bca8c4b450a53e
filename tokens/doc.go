// Package tokens makes and verifies the signed tokens of the kit: JWTs (RFC 7519) in their strict
// form, each of one kind, under keys that can be changed while tokens live.
//
// [New] takes a [Keyring] and says once who issues and for whom; [Tokens.Verify] proves an access token
// and gives a principal, [Tokens.Issue] makes one. A [Kind] is a token for one other purpose, such as an
// invitation. With a [List] every verification asks whether the token was ended before its time.
//
// It signs and checks signatures by github.com/golang-jwt/jwt/v5 and decodes by
// github.com/go-json-experiment/json; what a token must be like beyond that is in strict.go and verify.go.
// It does not own the memory of ended tokens (package revocation) nor how a request carries one (package auth).
package tokens
