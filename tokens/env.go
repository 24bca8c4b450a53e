package tokens

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	defaultRefresh = 30 * 24 * time.Hour
	maxRefresh     = 400 * 24 * time.Hour // what browsers keep a cookie for (RFC 6265bis section 5.5)
)

// ConfigFromEnv reads a Config, and the lifetime of refresh tokens, from the environment:
//
//	DOORWARD_SECRET            the secret itself: at least 32 bytes; or PEM or JWKS text
//	DOORWARD_SECRET_FILE       or the file it stands in, as Docker and Kubernetes mount it under /run/secrets
//	DOORWARD_ISSUER            iss, for example https://api.example.com
//	DOORWARD_AUDIENCE          aud, for example api
//	DOORWARD_ACCESS_LIFETIME   as "15m" (the default), 30s to 24h
//	DOORWARD_REFRESH_LIFETIME  as "720h" (the default: 30 days), longer than the access lifetime, at most 9600h
//
// Secrets stand one to a line: the first signs, the others are accepted, so that a secret is changed
// without downtime. There is no default secret. The error lists everything that is wrong, with what was got
// and what was expected, and never the secret.
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

// KeysFromEnv makes a keyring of DOORWARD_SECRET or DOORWARD_SECRET_FILE, as [ConfigFromEnv] does.
func KeysFromEnv() (*Keyring, error) {
	text, path := os.Getenv("DOORWARD_SECRET"), os.Getenv("DOORWARD_SECRET_FILE")
	from, keys, err := "DOORWARD_SECRET", []Key(nil), error(nil)
	switch {
	case text != "" && path != "":
		return nil, errors.New("tokens: got both DOORWARD_SECRET and DOORWARD_SECRET_FILE, expected one of them")
	case path != "":
		from = "DOORWARD_SECRET_FILE"
		keys, err = LoadKeys(path)
	case text != "":
		keys, err = parseText([]byte(text))
	default:
		return nil, errors.New("tokens: got neither DOORWARD_SECRET nor DOORWARD_SECRET_FILE, expected a secret of at least 32 bytes, such as `openssl rand -base64 32` prints")
	}
	if err != nil {
		return nil, fmt.Errorf("tokens: %s: %w", from, err)
	}
	ring := NewKeyring(keys[0], keys[1:]...)
	if err := ring.err(); err != nil {
		return nil, fmt.Errorf("tokens: %s: %w", from, err)
	}
	return ring, nil
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
