package auth

import (
	"context"
	"fmt"
)

type bindingKey struct{}

// Bind returns the context of a request whose sender has shown a binding, such as middleware.BindDevice does. A
// session that begins in it is bound: its access tokens, and its refresh token, work only where the same was shown.
// A principal with a binding that was not shown is refused, so that a bound token which was stolen is of no use, and
// one that comes to a route without BindDevice opens nothing.
//
// A binding is what stands in the claim cnf of a token (RFC 7800 section 3.1): the name of a method, a colon, and
// what must be shown, at most 128 bytes, no secret. "device" is the kit's own, the hash of a secret. "jkt", the
// thumbprint of a key whose possession each request proves (DPoP, RFC 9449 section 6.1), has its place here and
// is not accepted yet.
func Bind(ctx context.Context, binding string) context.Context {
	return context.WithValue(ctx, bindingKey{}, binding)
}

// BindingOf returns the binding that the sender of ctx's request has shown, "" for none.
func BindingOf(ctx context.Context) string {
	b, _ := ctx.Value(bindingKey{}).(string)
	return b
}

// CheckBinding refuses p with [TokenInvalid] if it has a binding and the request of ctx does not show it.
func CheckBinding(ctx context.Context, p *Principal) error {
	if p.Binding == "" || p.Binding == BindingOf(ctx) {
		return nil
	}
	return fmt.Errorf("%w: the credential is bound, and its holder has not shown to what", TokenInvalid)
}
