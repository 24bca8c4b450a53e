package tokens

import "context"

// What the tests of keys reach for below Verify and Issue: signatures of texts that are no tokens.

func SignWith(k Key, text, use, issuer string) ([]byte, error) { return k.k.sign(text, use, issuer) }

func VerifyWith(k Key, text string, sig []byte, use, issuer string) error {
	return k.k.verify(text, sig, use, issuer)
}

func RingErr(k *Keyring) error                             { return k.err() }
func RingHolds(k *Keyring, found any) bool                 { return k.holds(found.(*key)) }
func ParseText(text []byte, algs ...string) ([]Key, error) { return parseText(text, algs...) }
func RingFind(ctx context.Context, k *Keyring, id string) (any, error) {
	found, err := k.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Remembered is how many derived keys a root keeps.
func Remembered(k Key) int { return len(*k.k.root.known.Load()) }
