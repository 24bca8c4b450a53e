package doorward_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/seal"
	"github.com/doorward/doorward/auth/totp"
	"github.com/doorward/doorward/internal/pythontest"
	"github.com/doorward/doorward/tokens"
)

// The tests of docs/migrating.md: everything that the older side is said to make is made by the Python library itself.

// What people have typed: the last is over the 72 bytes of bcrypt.
var typed = []string{"correct horse battery staple", "пароль-é-密码-🔑", strings.Repeat("long ", 20)}

// TestMoving_Passwords: each hash that argon2-cffi and passlib make opens for its password alone, and is replaced once by one
// that both of them accept.
func TestMoving_Passwords(t *testing.T) {
	var made []struct{ Scheme, Password, Hash string }
	pythontest.Run(t, `
from argon2.low_level import Type
h = passlib.hash
schemes = {
  "argon2-cffi": argon2.PasswordHasher().hash,
  "argon2-cffi, argon2i": argon2.PasswordHasher(time_cost=3, memory_cost=32768, type=Type.I).hash,
  "argon2-cffi, 512 KiB": argon2.PasswordHasher(time_cost=2, memory_cost=512, parallelism=2, hash_len=16).hash,
  "passlib argon2": lambda p: h.argon2.hash(p),
  "passlib bcrypt": h.bcrypt.using(rounds=10).hash,
  "passlib bcrypt, 2a": h.bcrypt.using(rounds=10, ident="2a").hash,
  "passlib bcrypt_sha256": h.bcrypt_sha256.using(rounds=10).hash,
  "passlib bcrypt_sha256, version 1": h.bcrypt_sha256.using(rounds=10, version=1).hash,
  "passlib pbkdf2_sha256": h.pbkdf2_sha256.using(rounds=30000).hash,
  "passlib pbkdf2_sha512": h.pbkdf2_sha512.using(rounds=25000).hash,
  "bcrypt": lambda p: bcrypt.hashpw(p.encode(), bcrypt.gensalt(10)).decode(),
}
answer = [{"Scheme": s, "Password": p, "Hash": f(p)} for s, f in schemes.items() for p in given]
`, append([]string{"cafe\u0301 in NFD, as it was sent"}, typed...), &made)
	hashers := map[string]*password.Hasher{} // one for each scheme, since a failed check does the work of all that were met
	for _, m := range made {
		// bcrypt cuts off at 72 bytes, so whoever used it plainly has to say so.
		cuts := strings.HasSuffix(m.Scheme, "bcrypt") || strings.HasSuffix(m.Scheme, "2a")
		h := hashers[m.Scheme]
		if h == nil {
			var err error
			if h, err = password.New(password.Config{Memory: 19 << 10, Time: 2, Parallelism: 1, AllowBcryptTruncation: cuts}); err != nil {
				t.Fatal(err)
			}
			hashers[m.Scheme] = h
		}
		if _, err := h.Verify(t.Context(), m.Hash, m.Password+"x"); !errors.Is(err, auth.LoginFailed) && !(cuts && len(m.Password) >= 72) {
			t.Errorf("%s: another password: got %v", m.Scheme, err)
		}
		replaced := 0
		err := h.Upgrade(t.Context(), m.Hash, m.Password, func(_ context.Context, old, hash string) error {
			replaced++
			if old != m.Hash || h.NeedsRehash(hash) {
				t.Errorf("%s: %s was replaced by %s", m.Scheme, old, hash)
			}
			return nil
		})
		if err != nil || replaced != 1 {
			t.Errorf("%s, %q: replaced %d times, %v", m.Scheme, m.Password, replaced, err)
		}
	}
	// The way back: what the kit has made, both verify.
	hasher, err := password.New(password.Config{})
	if err != nil {
		t.Fatal(err)
	}
	type hashed struct{ Password, Hash string }
	var back []hashed
	for _, p := range typed {
		hash, err := hasher.Hash(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, hashed{p, hash})
	}
	var accepted []bool
	pythontest.Run(t, `
answer = [argon2.PasswordHasher().verify(g["Hash"], g["Password"]) and passlib.hash.argon2.verify(g["Password"], g["Hash"])
  and not passlib.hash.argon2.verify(g["Password"] + "x", g["Hash"]) for g in given]`, back, &accepted)
	if !slices.Equal(accepted, []bool{true, true, true}) {
		t.Errorf("argon2-cffi and passlib on hashes of the kit: %v", accepted)
	}
	old, err := password.New(password.Config{Bcrypt: 10})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := old.Hash(t.Context(), typed[1])
	if err != nil {
		t.Fatal(err)
	}
	pythontest.Run(t, `answer = [passlib.hash.bcrypt.verify(given["Password"], given["Hash"]), bcrypt.checkpw(given["Password"].encode(), given["Hash"].encode())]`,
		hashed{typed[1], hash}, &accepted)
	if !slices.Equal(accepted, []bool{true, true}) {
		t.Errorf("passlib and bcrypt on a bcrypt hash of the kit: %v", accepted)
	}
}

const (
	oldSecret = "a secret of an older system, 40 bytes ok"
	newIssuer = "https://api.example.com"
)

// TestMoving_Tokens: what python-jose and PyJWT sign is accepted through the adapter until its day, and nothing else of theirs.
func TestMoving_Tokens(t *testing.T) {
	now := time.Now()
	var made map[string]map[string]string // by library, then by what it is
	pythontest.Run(t, `
import jose.jwt as jose_jwt
claims = {"sub": "42", "roles": ["editor"], "competencies": ["sign"], "token_version": 3, "type": "access", "iat": given["now"], "exp": given["now"] + 900}
def change(**c): return {k: v for k, v in {**claims, **c}.items() if v is not None}
cases = {
  "plain": claims,
  "ver, datetime": change(token_version=None, ver=3, iat=None, exp=__import__("datetime").datetime.utcfromtimestamp(given["now"] + 900)),
  "refresh": change(type="refresh"), "no type": change(type=None), "older version": change(token_version=2), "no version": change(token_version=None),
  "expired": change(iat=given["now"] - 1000, exp=given["now"] - 100), "no exp": change(exp=None), "for a year": change(exp=given["now"] + 365*86400),
  "audience": change(aud="other"), "issuer": change(iss="other"), "two versions": change(ver=4), "no sub": change(sub=None),
}
answer = {}
for name, encode in {"python-jose": jose_jwt.encode, "PyJWT": jwt.encode}.items():
  a = answer[name] = {n: encode(c, given["secret"], algorithm="HS256") for n, c in cases.items()}
  a["HS512"] = encode(claims, given["secret"], algorithm="HS512")
  a["another secret"] = encode(claims, given["secret"] + "x", algorithm="HS256")
  a["a kid"] = encode(claims, given["secret"], algorithm="HS256", headers={"kid": "k1"})
answer["PyJWT"]["none"] = jwt.encode(claims, None, algorithm="none")
answer["PyJWT"]["a number as sub"] = jwt.encode(change(sub=42), given["secret"], algorithm="HS256")
`, map[string]any{"now": now.Unix(), "secret": oldSecret}, &made)

	clock := now
	legacy, err := tokens.NewLegacy(tokens.LegacyConfig{
		Key: tokens.HS256("old", []byte(oldSecret)), Issuer: newIssuer, Until: now.Add(30 * 24 * time.Hour), Now: func() time.Time { return clock },
		Version: func(_ context.Context, subject string) (int64, error) {
			if subject != "42" {
				return 0, auth.NotFound
			}
			return 3, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tok := issuer(t)
	both := legacy.Or(tok)
	good := []string{"plain", "ver, datetime", "a number as sub"}
	for library, texts := range made {
		for name, raw := range texts {
			p, err := both.Verify(t.Context(), raw)
			if !slices.Contains(good, name) {
				if code := auth.CodeOf(err); code != auth.TokenInvalid && code != auth.TokenExpired && code != auth.TokenRevoked {
					t.Errorf("%s, %s: got %v", library, name, err)
				}
				continue
			}
			if err != nil || p.Issuer != newIssuer || p.Subject != "42" || p.Version != 3 || !p.HasRole("editor") || !p.Can("sign") || p.Session != "" || !p.AuthTime.IsZero() {
				t.Errorf("%s, %s: got %+v, %v", library, name, p, err)
			}
		}
	}
	for _, day := range []time.Duration{0, 30 * 24 * time.Hour} { // not on the day, and not when the server starts after it
		clock = now.Add(day)
		_, err := both.Verify(t.Context(), made["PyJWT"]["plain"])
		if want := map[bool]error{true: nil, false: tokens.ErrExpired}[day == 0]; !errors.Is(err, want) {
			t.Errorf("after %v: got %v, expected %v", day, err, want)
		}
	}
	clock = now

	// The way back: both libraries accept an access token of the kit, with an explicit key.
	stamp, err := tok.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "42", Version: 4, Roles: []string{"editor"}})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := both.Verify(t.Context(), raw); err != nil || p.Version != 4 {
		t.Errorf("a token of the kit behind the adapter: %+v, %v", p, err)
	}
	var seen []struct {
		Sub   string
		Ver   int64
		Roles []string
	}
	pythontest.Run(t, `
import jose.jwt as jose_jwt
answer = [jwt.decode(given["raw"], given["key"], algorithms=["HS256"], audience="api", issuer=given["iss"]),
  jose_jwt.decode(given["raw"], given["key"], algorithms=["HS256"], audience="api", issuer=given["iss"])]`,
		map[string]string{"raw": raw, "key": newSecret, "iss": newIssuer}, &seen)
	for _, s := range seen {
		if s.Sub != "42" || s.Ver != 4 || !slices.Equal(s.Roles, []string{"editor"}) {
			t.Errorf("Python reads %+v", s)
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d answers", len(seen))
	}
}

const newSecret = "another secret, of the new system, 32+"

func issuer(t *testing.T) *tokens.Tokens {
	t.Helper()
	tok, err := tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.HS256("k1", []byte(newSecret))), Issuer: newIssuer, Audience: "api"})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestMoving_Keys: a private key that cryptography wrote as PEM signs for the kit, and PyJWT accepts it by the public half that the
// kit publishes.
func TestMoving_Keys(t *testing.T) {
	var pems map[string]string
	pythontest.Run(t, `
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
def pem(k): return k.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()
answer = {"ES256": pem(ec.generate_private_key(ec.SECP256R1())), "EdDSA": pem(ed25519.Ed25519PrivateKey.generate()), "RS256": pem(rsa.generate_private_key(65537, 3072))}
`, nil, &pems)
	for alg, text := range pems {
		keys, err := tokens.ParseKeys([]byte(text), alg)
		if err != nil || len(keys) != 1 {
			t.Errorf("%s: %d keys, %v", alg, len(keys), err)
			continue
		}
		ring := tokens.NewKeyring(keys[0])
		tok, err := tokens.New(tokens.Config{Keys: ring, Issuer: newIssuer, Audience: "api"})
		if err != nil {
			t.Fatal(err)
		}
		stamp, _ := tok.Stamp(t.Context())
		raw, _, err := tok.Issue(stamp, &auth.Principal{Subject: "42", Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		published := httptest.NewRecorder()
		ring.ServeHTTP(published, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
		var sub string
		pythontest.Run(t, `
key = jwt.PyJWK(json.loads(given["set"])["keys"][0]).key
answer = jwt.decode(given["raw"], key, algorithms=[given["alg"]], audience="api")["sub"]`, map[string]any{"set": published.Body.String(), "raw": raw, "alg": alg}, &sub)
		if sub != "42" {
			t.Errorf("%s: PyJWT reads %q", alg, sub)
		}
	}
}

// TestMoving_TOTP: secrets and URIs of pyotp work here, and those of the kit there.
func TestMoving_TOTP(t *testing.T) {
	now := time.Now()
	var made struct {
		Secret, URI, Code, CodeOfURI string
	}
	pythontest.Run(t, `
secret = pyotp.random_base32()
other = pyotp.TOTP(pyotp.random_base32(), digits=8, digest=__import__("hashlib").sha256)
answer = {"Secret": secret, "Code": pyotp.TOTP(secret).at(given), "URI": other.provisioning_uri("änn@example.com", issuer_name="Пример"), "CodeOfURI": other.at(given)}
`, now.Unix(), &made)
	sealer := mustSeal(t)
	factors, err := totp.New(totp.Config{Issuer: "Пример", Store: totp.NewMemory(), Sealer: sealer.Bytes(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for subject, old := range map[string][2]string{"ann": {made.Secret, made.Code}, "bob": {made.URI, made.CodeOfURI}} {
		key, err := totp.ParseKey(old[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := factors.Import(t.Context(), "", subject, key); err != nil {
			t.Fatal(err)
		}
		if err := factors.Verify(t.Context(), "", subject, old[1]); err != nil {
			t.Errorf("%s: pyotp's code: %v", subject, err)
		}
		if err := factors.Verify(t.Context(), "", subject, old[1]); !errors.Is(err, totp.ErrWrong) {
			t.Errorf("%s: the same code again: %v", subject, err)
		}
	}
	key, err := factors.Begin(t.Context(), "", "cat", "cät@example.com")
	if err != nil {
		t.Fatal(err)
	}
	var seen struct{ Code, Name, Issuer, Plain string }
	pythontest.Run(t, `
k = pyotp.parse_uri(given["uri"])
answer = {"Code": k.at(given["now"]), "Name": k.name, "Issuer": k.issuer, "Plain": pyotp.TOTP(given["secret"]).at(given["now"])}`,
		map[string]any{"uri": key.URI(), "secret": key.Secret(), "now": now.Unix()}, &seen)
	if seen.Name != "cät@example.com" || seen.Issuer != "Пример" || seen.Plain != seen.Code {
		t.Errorf("pyotp reads %+v of the URI", seen)
	}
	if _, err := factors.Confirm(t.Context(), "", "cat", seen.Code); err != nil {
		t.Errorf("pyotp's code for a secret of the kit: %v", err)
	}
}

// TestMoving_Fernet: values of cryptography's Fernet and MultiFernet open, are known as such, and are sealed anew.
func TestMoving_Fernet(t *testing.T) {
	var made struct{ Keys, Values []string }
	pythontest.Run(t, `
from cryptography.fernet import Fernet, MultiFernet
keys = [Fernet.generate_key() for _ in range(2)]
texts = [t.encode() for t in given]
answer = {"Keys": [k.decode() for k in keys],
  "Values": [Fernet(keys[0]).encrypt(t).decode() for t in texts] + [MultiFernet([Fernet(k) for k in reversed(keys)]).encrypt(t).decode() for t in texts]}
`, typed, &made)
	var old []seal.FernetKey
	for _, text := range made.Keys {
		k, err := seal.ParseFernetKey(text)
		if err != nil {
			t.Fatal(err)
		}
		old = append(old, k)
	}
	sealer := mustSeal(t, old...)
	at := seal.Place{Owner: auth.Owner{Issuer: "https://api.example.com", Subject: "42"}, Purpose: "oauth github refresh"}
	for i, value := range made.Values {
		text, stale, err := sealer.Open(at, value)
		if err != nil || !stale || text != typed[i%len(typed)] || !seal.Sealed(value) {
			t.Errorf("value %d: %q, stale %t, %v", i, text, stale, err)
		}
		fresh, changed, err := sealer.Reseal(at, value)
		if err != nil || !changed || !strings.HasPrefix(fresh, "dws1.") {
			t.Errorf("value %d resealed: %t, %v", i, changed, err)
		}
		if text, stale, err := mustSeal(t).Open(at, fresh); err != nil || stale || text != typed[i%len(typed)] {
			t.Errorf("value %d without the old keys: %q, stale %t, %v", i, text, stale, err)
		}
		if _, _, err := mustSeal(t, old[1]).Open(at, value); i < len(typed) && !errors.Is(err, seal.ErrOpen) {
			t.Errorf("value %d with another key: %v", i, err)
		}
	}
}

func mustSeal(t *testing.T, old ...seal.FernetKey) *seal.Sealer {
	t.Helper()
	keys, err := seal.NewKeyring(seal.NewKey("2026-11", []byte(newSecret)[:32]))
	if err != nil {
		t.Fatal(err)
	}
	s, err := seal.New(seal.Config{Keys: keys, Issuer: newIssuer, Fernet: old})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestMigratingNamesTests: each line of the tables of docs/migrating.md names a test, and each is one of ours.
func TestMigratingNamesTests(t *testing.T) {
	text, err := os.ReadFile("docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	sources, rows := strings.Join(goFiles(t), ""), 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| there |") {
			continue
		}
		rows++
		names := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(line, -1)
		if len(names) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, name := range names {
			if !strings.Contains(sources, fmt.Sprintf("func %s(t ", name[1])) {
				t.Errorf("there is no %s: %s", name[1], line)
			}
		}
	}
	if rows < 12 {
		t.Errorf("%d rows", rows)
	}
}
