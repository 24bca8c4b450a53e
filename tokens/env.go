package tokens

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	defaultRefresh = 30 * 24 * time.Hour
	maxRefresh     = 400 * 24 * time.Hour // what browsers keep a cookie for (RFC 6265bis section 5.5)
)

// ConfigFromEnv reads a Config, and the lifetime of refresh tokens, from the environment:
//
//	DOORWARD_SECRET            the secret itself: at least 32 bytes
//	DOORWARD_SECRET_FILE       or the file it stands in, as Docker and Kubernetes mount it under /run/secrets
//	DOORWARD_KEYS              keys to sign tokens with, as PEM or JWKS text
//	DOORWARD_KEYS_FILE         or the file they stand in
//	DOORWARD_ALGORITHM         the algorithms that those keys may have, such as "RS256" or "RS256,ES256"; all by default
//	DOORWARD_ISSUER            iss, for example https://api.example.com
//	DOORWARD_AUDIENCE          aud, for example api
//	DOORWARD_ACCESS_LIFETIME   as "15m" (the default), 30s to 24h
//	DOORWARD_REFRESH_LIFETIME  as "720h" (the default: 30 days), longer than the access lifetime, at most 9600h
//
// What the secret and the keys are together, [KeysFromEnv] says. There is no default secret. The error lists everything
// that is wrong, with what was got and what was expected, and never the secret.
func ConfigFromEnv() (c Config, refresh time.Duration, err error) {
	var wrong []error
	if c.Keys, err = KeysFromEnv(); err != nil {
		wrong = append(wrong, err)
	}
	for _, f := range []struct {
		name string
		to   *string
	}{{"DOORWARD_ISSUER", &c.Issuer}, {"DOORWARD_AUDIENCE", &c.Audience}} {
		*f.to = os.Getenv(f.name)
		if err := checkName(*f.to); err != nil {
			wrong = append(wrong, fmt.Errorf("tokens: %s: %w", f.name, err))
		}
	}
	if c.Lifetime, err = lifetime("DOORWARD_ACCESS_LIFETIME", defaultLifetime, minLifetime, maxUnlisted); err != nil {
		wrong = append(wrong, err)
	}
	if refresh, err = lifetime("DOORWARD_REFRESH_LIFETIME", defaultRefresh, c.Lifetime+time.Second, maxRefresh); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) > 0 {
		return Config{}, 0, errors.Join(wrong...)
	}
	return c, refresh, nil
}

// KeysFromEnv makes a keyring of the variables of [ConfigFromEnv]. At least a secret or a key is demanded.
//
// Secrets stand one to a line: the first is the current one, the others are accepted, so that a secret is changed
// without downtime. Without keys it signs the tokens.
//
// With keys, the first of them signs the tokens and the others are accepted. The secret then derives all else that the
// kit needs keys for, and what it signed before is accepted. Without a secret there is nothing else: package session and the
// others refuse such a ring. Where the first key is a public one the secret signs on and the keys are accepted: deploy the
// public key everywhere first, then the private one, and no node meets a token of a key that it does not know.
//
// An RSA key in PEM does not say whether it is for RS256 or PS256: name one of the two in DOORWARD_ALGORITHM. One of less
// than 3072 bits is refused; for 2048 use [LoadKeys] and [Key.AllowRSA2048].
func KeysFromEnv() (*Keyring, error) {
	algs := algorithms
	if named := os.Getenv("DOORWARD_ALGORITHM"); named != "" {
		algs = strings.Split(strings.ReplaceAll(named, " ", ""), ",")
	}
	keys, keysErr := keysFrom("DOORWARD_KEYS", algs, true)
	if keys != nil || keysErr != nil {
		algs = algorithms // those were for the keys
	}
	secrets, err := keysFrom("DOORWARD_SECRET", algs, false)
	if err := errors.Join(keysErr, err); err != nil {
		return nil, err
	}
	all := slices.Concat(keys, secrets)
	if len(keys) > 0 && len(secrets) > 0 && !keys[0].k.canSign() {
		all = slices.Concat(secrets, keys)
	}
	if len(all) == 0 {
		return nil, errors.New("tokens: got neither DOORWARD_SECRET nor DOORWARD_SECRET_FILE, nor keys in DOORWARD_KEYS_FILE, expected a secret of at least 32 bytes, such as `openssl rand -base64 32` prints")
	}
	ring := NewKeyring(all[0], all[1:]...)
	if err := ring.err(); err != nil {
		return nil, fmt.Errorf("tokens: DOORWARD_KEYS and DOORWARD_SECRET: %w", err)
	}
	return ring, nil
}

// keysFrom reads the variable of this name, or the file that the one with _FILE names; nil where there is neither.
func keysFrom(name string, algs []string, asKeys bool) (keys []Key, err error) {
	text, path := []byte(os.Getenv(name)), os.Getenv(name+"_FILE")
	switch {
	case len(text) > 0 && path != "":
		return nil, fmt.Errorf("tokens: got both %s and %s_FILE, expected one of them", name, name)
	case path != "":
		name += "_FILE"
		if text, err = readKeys(path); err != nil {
			return nil, fmt.Errorf("tokens: %s: %w", name, err)
		}
	case len(text) == 0:
		return nil, nil
	}
	switch {
	case asKeys && !isKeyText(text):
		return nil, fmt.Errorf("tokens: %s: got no PEM and no JWKS; a secret stands in DOORWARD_SECRET", name)
	case !asKeys && isKeyText(text):
		return nil, fmt.Errorf("tokens: %s: got PEM or JWKS, expected a secret; keys stand in DOORWARD_KEYS_FILE", name)
	}
	if keys, err = parseText(text, algs...); err != nil {
		return nil, fmt.Errorf("tokens: %s, DOORWARD_ALGORITHM %.16q: %w", name, os.Getenv("DOORWARD_ALGORITHM"), err)
	}
	return keys, nil
}

func lifetime(name string, def, least, most time.Duration) (time.Duration, error) {
	text := os.Getenv(name)
	if text == "" {
		return def, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return def, fmt.Errorf("tokens: %s: got %.40q, expected a duration from %s to %s, such as %s", name, text, least, most, def)
	}
	return d, nil
}
