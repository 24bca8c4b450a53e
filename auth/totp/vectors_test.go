package totp_test

import (
	"encoding/base32"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth/totp"
)

// RFC 6238 appendix B. The secrets there are the digits again and again, as long as the hash's output (erratum 2866).
func TestSTD_O01_RFC6238(t *testing.T) {
	for _, v := range []struct {
		at                   int64
		sha1, sha256, sha512 string
	}{
		{59, "94287082", "46119246", "90693936"},
		{1111111109, "07081804", "68084774", "25091201"},
		{1111111111, "14050471", "67062674", "99943326"},
		{1234567890, "89005924", "91819424", "93441116"},
		{2000000000, "69279037", "90698825", "38618901"},
		{20000000000, "65353130", "77737706", "47863826"},
	} {
		for algorithm, want := range map[string]string{"SHA1": v.sha1, "SHA256": v.sha256, "SHA512": v.sha512} {
			size := map[string]int{"SHA1": 20, "SHA256": 32, "SHA512": 64}[algorithm]
			secret := base32.StdEncoding.EncodeToString([]byte(strings.Repeat("1234567890", 7)[:size]))
			key, err := totp.ParseKey("otpauth://totp/x?digits=8&algorithm=" + algorithm + "&secret=" + strings.TrimRight(secret, "="))
			if err != nil {
				t.Fatal(err)
			}
			if got := totp.CodeAt(key, v.at/30); got != want {
				t.Errorf("%s at %d: got %s, expected %s", algorithm, v.at, got, want)
			}
			k := newKit(t, func(c *totp.Config) { c.CurrentStepOnly = true })
			k.now = time.Unix(v.at, 0)
			k.want(k.Import(t.Context(), subject, key), nil)
			k.want(k.verify(want), nil)
		}
	}
}

// RFC 4226 appendix D: a step of RFC 6238 is a counter there.
func TestSTD_O01_RFC4226(t *testing.T) {
	key, err := totp.ParseKey("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	if err != nil {
		t.Fatal(err)
	}
	for count, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := totp.CodeAt(key, int64(count)); got != want {
			t.Errorf("count %d: got %s, expected %s", count, got, want)
		}
		if got := codeOf(t, key.Secret(), int64(count)); got != want {
			t.Errorf("count %d: the tests' own code makes %s, expected %s", count, got, want)
		}
	}
}

// pyotp is what testdata/make_pyotp.py has written.
func pyotp(t testing.TB) (rows []struct {
	Issuer, Account, Secret, Algorithm, URI, Code string
	Digits                                        int
	Period, At                                    int64
}) {
	t.Helper()
	text, err := os.ReadFile("testdata/pyotp.json")
	if err == nil {
		err = json.Unmarshal(text, &rows)
	}
	if err != nil || len(rows) < 6 {
		t.Fatalf("got %d rows, %v", len(rows), err)
	}
	return rows
}

// What pyotp holds goes on working, its URIs are read, and ours are its own to the letter.
func TestSTD_O01_PyOTP(t *testing.T) {
	for _, row := range pyotp(t) {
		key, err := totp.ParseKey(row.URI)
		if err != nil {
			t.Fatalf("%s: %v", row.Issuer, err)
		}
		if got := key.URI(); !strings.EqualFold(got, row.URI) || row.Secret == strings.ToUpper(row.Secret) && got != row.URI {
			t.Errorf("got  %s\nwant %s", got, row.URI)
		}
		k := newKit(t)
		k.now = time.Unix(row.At, 0)
		k.want(k.Import(t.Context(), subject, key), nil)
		k.want(k.verify(row.Code), nil)
		k.want(k.verify(row.Code), totp.ErrWrong)

		if row.Digits == 6 && row.Algorithm == "SHA1" { // the bare secret, as a users table holds it
			bare, err := totp.ParseKey(row.Secret)
			if err != nil || totp.CodeAt(bare, row.At/30) != row.Code {
				t.Errorf("%s: the bare secret makes another code: %v", row.Issuer, err)
			}
		}
	}
}
