package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/seal"
)

// fernetSecret is the key of all vectors of github.com/fernet/spec.
const fernetSecret = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="

func fernetKey(t testing.TB, text string) seal.FernetKey {
	t.Helper()
	k, err := seal.ParseFernetKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// fernetSealer opens values of these keys at a time.
func fernetSealer(t testing.TB, now time.Time, maxAge time.Duration, keys ...string) *seal.Sealer {
	t.Helper()
	c := seal.Config{Keys: newKeyring(t, newKey("k")), FernetMaxAge: maxAge, Now: func() time.Time { return now }}
	for _, k := range keys {
		c.Fernet = append(c.Fernet, fernetKey(t, k))
	}
	return newSealer(t, c)
}

// at reads the times of the vectors.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	now, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// generate.json and verify.json of github.com/fernet/spec.
func TestFernet_Vectors(t *testing.T) {
	const value = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
	for name, c := range map[string]struct {
		now string
		age time.Duration
	}{
		"generate":                   {"1985-10-26T01:20:00-07:00", 0},
		"verify, ttl_sec 60":         {"1985-10-26T01:20:01-07:00", time.Minute},
		"verify, ttl_sec -1":         {"1985-10-26T01:20:01-07:00", 0},
		"no age: 41 years later":     {"2026-10-26T01:20:01-07:00", 0},
		"no age: before it was made": {"1970-10-26T01:20:01-07:00", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := fernetSealer(t, at(t, c.now), c.age, fernetSecret)
			if text, stale, err := s.Open(totp, value); text != "hello" || !stale || err != nil {
				t.Errorf("got %q, %v, %v", text, stale, err)
			}
		})
	}
}

// invalid.json of github.com/fernet/spec.
func TestFernet_InvalidVectors(t *testing.T) {
	for _, c := range []struct {
		name, value, now string
		age              time.Duration
	}{
		{"incorrect mac", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==", "1985-10-26T01:20:01-07:00", time.Minute},
		{"too short", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==", "1985-10-26T01:20:01-07:00", time.Minute},
		{"invalid base64", "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==", "1985-10-26T01:20:01-07:00", time.Minute},
		{"payload size not multiple of block size", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm", "1985-10-26T01:20:01-07:00", time.Minute},
		{"payload padding error", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==", "1985-10-26T01:20:01-07:00", time.Minute},
		{"far-future TS (unacceptable clock skew)", "gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-iX9b_qXQcw==", "1985-10-26T01:20:01-07:00", time.Minute},
		{"expired TTL", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==", "1985-10-26T01:21:31-07:00", time.Minute},
		{"incorrect IV (causes padding error)", "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==", "1985-10-26T01:20:01-07:00", time.Minute},
		{"very short payload size", "gAAAAABdnQ1TUKh2OE_ggbyCIxfg", "1985-10-26T01:20:01-07:00", 0},
		{"super short payload size", "gAAA", "1985-10-26T01:20:01-07:00", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			shut(t, fernetSealer(t, at(t, c.now), c.age, fernetSecret), totp, c.value, seal.ErrOpen)
		})
	}
}

// Values that Python's cryptography 48 made, under one of several keys, as MultiFernet has them.
var python = []struct{ key, value, text string }{
	{"9tEh4SJoZxapHlMtDg5s4PJde4aehtNYxovmGYE11qU=", "gAAAAABlU_EAkjqkV-9fE6YbkO2Bj15Mj7IB_ZMlsMYDybmKKICOgAKIRA_eD7phMKpC1995diKuOv8fwzYWUs6OUyEbmMx7apihVFL2Is9ygINtXFhSiII=", "JBSWY3DPEHPK3PXP"},
	{"9tEh4SJoZxapHlMtDg5s4PJde4aehtNYxovmGYE11qU=", "gAAAAABlU_EAewC_SULqqdXO5-ZhU-hy6ehIdPqaNRGZRRlzXs7Gm0wAgJWQZeoLt0D3itbEXkNLFDXno2cYtSbdGgPwOngQow==", ""},
	{"zo0EYNsW7DqUZvCviTIFZnLcEmFZv5HX1q1Fyl1_zXY=", "gAAAAABoTuGAne1Jn2FVLM24ohPPJKmUzqVKcFUu03FDCsZ8AmCnujS5vjzNeW9ka7ZpXVWblPEDDhYV04JWemelxnF92QOf5XCKzE49IRifdZQI7blmX3Y=", "ключ – 鍵"},
}

// STD-V03: values of an older system open under any of its keys and are resealed on use; then they are bound to
// their place and the old keys can go.
func TestFernet_STD_V03_Python(t *testing.T) {
	ring := newKeyring(t, newKey("k"))
	s := newSealer(t, seal.Config{Keys: ring, Fernet: []seal.FernetKey{fernetKey(t, fernetSecret), fernetKey(t, python[2].key), fernetKey(t, python[0].key)}})
	after := newSealer(t, seal.Config{Keys: ring})
	stored := map[string]string{}
	for _, v := range python {
		if !seal.Sealed(v.value) {
			t.Errorf("%s is not sealed", v.value)
		}
		shut(t, after, totp, v.value, seal.ErrOpen)
		fresh, changed, err := s.Reseal(totp, v.value)
		if err != nil || !changed || !strings.HasPrefix(fresh, "dws1.k.") {
			t.Fatalf("got %s, %v, %v", fresh, changed, err)
		}
		opens(t, after, totp, fresh, v.text)
		shut(t, after, seal.Place{Owner: auth.Owner{Issuer: issuer, Subject: "bob"}, Purpose: "totp"}, fresh, seal.ErrOpen)
		stored[v.text] = v.value
	}
	texts, stale, err := s.OpenMap(totp, stored)
	if err != nil || !stale || texts["JBSWY3DPEHPK3PXP"] != "JBSWY3DPEHPK3PXP" || texts[""] != "" {
		t.Errorf("a map: got %v, %v, %v", texts, stale, err)
	}
	shut(t, newSealer(t, seal.Config{Keys: ring, Fernet: []seal.FernetKey{fernetKey(t, fernetSecret)}}), totp, python[0].value, seal.ErrOpen)
}

// makeFernet makes a value with a right MAC around anything.
func makeFernet(t testing.TB, version byte, seconds uint64, padded []byte) string {
	t.Helper()
	key, err := base64.URLEncoding.DecodeString(fernetSecret)
	if err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint64([]byte{version}, seconds)
	iv := []byte("sixteen bytes iv")
	b = append(b, iv...)
	body := make([]byte, len(padded))
	block, err := aes.NewCipher(key[16:])
	if err != nil {
		t.Fatal(err)
	}
	if whole := len(padded) / 16 * 16; whole > 0 {
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(body[:whole], padded[:whole])
	}
	b = append(b, body...)
	h := hmac.New(sha256.New, key[:16])
	h.Write(b)
	return base64.URLEncoding.EncodeToString(h.Sum(b))
}

// Whoever had the old key may have made anything: what is authentic is still read strictly.
func TestFernet_Strict(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := fernetSealer(t, now, 0, fernetSecret)
	good := makeFernet(t, 0x80, 1_700_000_000, []byte("twelve bytes\x04\x04\x04\x04"))
	opens(t, s, totp, good, "twelve bytes")
	opens(t, s, totp, makeFernet(t, 0x80, 1<<63, []byte("twelve bytes\x04\x04\x04\x04")), "twelve bytes") // no age, no time
	for name, v := range map[string]string{
		"version 0x81":         makeFernet(t, 0x81, 0, []byte("twelve bytes\x04\x04\x04\x04")),
		"no block":             makeFernet(t, 0x80, 0, nil),
		"half a block":         makeFernet(t, 0x80, 0, make([]byte, 24)),
		"padding of 0":         makeFernet(t, 0x80, 0, []byte("fifteen letters\x00")),
		"padding of 17":        makeFernet(t, 0x80, 0, []byte(strings.Repeat("\x11", 32))),
		"padding of 255":       makeFernet(t, 0x80, 0, []byte(strings.Repeat("\xff", 16))),
		"padding not alike":    makeFernet(t, 0x80, 0, []byte("twelve bytes\x04\x04\x03\x04")),
		"without base64's end": strings.TrimRight(good, "="),
		"standard base64":      strings.ReplaceAll(strings.ReplaceAll(makeFernet(t, 0x80, 5, []byte(strings.Repeat("\x10", 16))), "-", "+"), "_", "/") + "+",
		"a line break":         good[:20] + "\n" + good[20:],
		"a line break behind":  good + "\n",
		"a space":              " " + good,
		"twice":                good + good,
		"stray bits":           good[:len(good)-2] + "B=",
	} {
		t.Run(name, func(t *testing.T) { shut(t, s, totp, v, seal.ErrOpen) })
	}
}

// STD-V02: every bit of a Fernet value counts as well.
func TestFernet_STD_V02_Changed(t *testing.T) {
	s := fernetSealer(t, time.Now(), 0, fernetSecret, python[0].key)
	raw, err := base64.URLEncoding.DecodeString(python[0].value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		shut(t, s, totp, base64.URLEncoding.EncodeToString(raw), seal.ErrOpen)
		raw[i/8] ^= 1 << (i % 8)
	}
}

// FernetMaxAge judges as cryptography's ttl does, to the second.
func TestFernet_MaxAge(t *testing.T) {
	const made = 1_700_000_000
	block := []byte("twelve bytes\x04\x04\x04\x04")
	for name, c := range map[string]struct {
		seconds uint64
		now     time.Time
		ok      bool
	}{
		"at once":           {made, time.Unix(made, 0), true},
		"at its age":        {made, time.Unix(made+60, 999), true},
		"past it":           {made, time.Unix(made+61, 0), false},
		"60 s ahead":        {made, time.Unix(made-60, 0), true},
		"61 s ahead":        {made, time.Unix(made-61, 0), false},
		"0":                 {0, time.Unix(made, 0), false},
		"the end of int64":  {1<<63 - 1, time.Unix(made, 0), false},
		"a negative time":   {1 << 63, time.Unix(made, 0), false},
		"the end of uint64": {1<<64 - 1, time.Unix(made, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := fernetSealer(t, c.now, time.Minute, fernetSecret)
			v := makeFernet(t, 0x80, c.seconds, block)
			if c.ok {
				opens(t, s, totp, v, "twelve bytes")
			} else {
				shut(t, s, totp, v, seal.ErrOpen)
			}
		})
	}
}

func TestParseFernetKey_Refused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"no padding":       strings.TrimRight(fernetSecret, "="),
		"standard base64":  "cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4=",
		"31 bytes":         base64.URLEncoding.EncodeToString(make([]byte, 31)),
		"33 bytes":         base64.URLEncoding.EncodeToString(make([]byte, 33)),
		"a line behind":    fernetSecret + "\n",
		"a line between":   fernetSecret[:10] + "\n" + fernetSecret[10:],
		"stray bits":       fernetSecret[:42] + "5=",
		"another text":     "change me",
		"quoted":           `"` + fernetSecret + `"`,
		"hex of 32 bytes":  strings.Repeat("ab", 32),
		"two keys at once": fernetSecret + fernetSecret,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := seal.ParseFernetKey(text)
			if err == nil || errors.Is(err, seal.ErrOpen) || len(text) > 8 && strings.Contains(err.Error(), text[:8]) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The longest text opens, and one byte more does not.
func TestFernet_Longest(t *testing.T) {
	for size, want := range map[int]bool{seal.MaxBytes - 1: true, seal.MaxBytes: true, seal.MaxBytes + 1: false} {
		pad := aes.BlockSize - size%aes.BlockSize
		padded := append(bytes.Repeat([]byte("x"), size), bytes.Repeat([]byte{byte(pad)}, pad)...)
		value := makeFernet(t, 0x80, 499162800, padded)
		text, _, err := fernetSealer(t, at(t, "1985-10-26T01:20:00-07:00"), 0, fernetSecret).Open(totp, value)
		if want != (err == nil && len(text) == size) {
			t.Errorf("%d bytes: got %d, %v", size, len(text), err)
		}
	}
}
