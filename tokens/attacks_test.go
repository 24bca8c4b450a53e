package tokens_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
	"github.com/golang-jwt/jwt/v5"
)

// The forger itself must be able to make a good token, otherwise nothing below means anything.
func TestForgedGoodTokenIsAccepted(t *testing.T) {
	tok, _ := setup(t)
	if p := accepted(t, tok, forge(goodHeader, claimsWith())); p.Subject != "ann" || p.TokenID != "one" {
		t.Errorf("got %+v", p)
	}
}

// STD-T01, STD-T04: no spelling of "none", nor of an algorithm we don't have, reaches a key.
func TestATK_J01_AlgNone(t *testing.T) {
	tok, _ := setup(t)
	for _, alg := range []string{
		`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `"noNE"`, `"none "`, `" none"`, `"none\u0000"`, `"none\t"`, `"ｎｏｎｅ"`,
		`null`, `0`, `["HS256"]`, `["none"]`, `""`, `{}`, `true`, `"hs256"`, `"HS256 "`, `"HS1"`, `"HS255"`, `"ES256K"`, `"dir"`,
	} {
		header := `{"alg":` + alg + `,"typ":"at+jwt","kid":"k1"}`
		signed := b64(header) + "." + b64(claimsWith())
		for _, raw := range []string{signed + ".", signed + "." + b64("x"), forge(header, claimsWith())} {
			t.Run("ATK-J01 "+alg, func(t *testing.T) { refused(t, tok, raw, tokens.ErrMalformed) })
		}
	}
	t.Run("ATK-J01 absent", func(t *testing.T) {
		refused(t, tok, forge(`{"typ":"at+jwt","kid":"k1"}`, claimsWith()), tokens.ErrMalformed)
	})
}

// STD-T03: a public key is known to everyone, so a MAC under it proves nothing.
func TestATK_J02_PublicKeyAsMACKey(t *testing.T) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 3072)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPub, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for _, c := range []struct {
		alg     string
		private any
		public  any
	}{{"RS256", rsaKey, &rsaKey.PublicKey}, {"ES256", ecKey, &ecKey.PublicKey}, {"EdDSA", edKey, edPub}} {
		ring := tokens.NewKeyring(tokens.NewKey("k1", c.alg, c.private))
		tok, _ := setup(t, func(cfg *tokens.Config) { cfg.Keys = ring })
		accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann"}))

		der, err := x509.MarshalPKIXPublicKey(c.public)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		macKeys := map[string][]byte{"PEM": text, "PEM without its last newline": text[:len(text)-1], "DER": der}
		if pub, ok := c.public.(*rsa.PublicKey); ok {
			macKeys["PKCS#1"] = x509.MarshalPKCS1PublicKey(pub)
		}
		macKeys["JWK"] = publicJWKS(t, ring)
		for name, key := range macKeys {
			t.Run("ATK-J02 "+c.alg+" "+name, func(t *testing.T) {
				refused(t, tok, forgeWith(key, goodHeader, claimsWith()), tokens.ErrSignature)
				// The same with the header that the key's owner would write.
				header := `{"alg":"` + c.alg + `","typ":"at+jwt","kid":"k1"}`
				refused(t, tok, forgeWith(key, header, claimsWith()), tokens.ErrSignature)
			})
		}
	}
}

// STD-T05: golang-jwt verifies with an empty key; here a verifier with a weak key cannot be built.
func TestATK_J03_WeakSecrets(t *testing.T) {
	for name, secret := range map[string][]byte{
		"nil": nil, "empty": {}, "one byte": {1}, "31 bytes": []byte("0123456789abcdefghijklmnopqrstu"),
		"secret": []byte("secret"), "jwt.io": []byte("a-string-secret-at-least-256-bits-long"),
		"zeros": make([]byte, 32), "one letter": []byte(strings.Repeat("a", 64)),
	} {
		for maker, key := range map[string]tokens.Key{"HS256": tokens.HS256("k1", secret), "FromSecret": tokens.FromSecret(secret)} {
			t.Run("ATK-J03 "+maker+" "+name, func(t *testing.T) {
				_, err := tokens.New(tokens.Config{Keys: tokens.NewKeyring(key), Issuer: issuer, Audience: audience})
				if err == nil {
					t.Fatal("a verifier was built")
				}
				if len(secret) > 1 && strings.Contains(err.Error(), string(secret)) && name != "secret" {
					t.Errorf("the error quotes the secret: %v", err)
				}
			})
		}
	}
}

// STD-T02: the algorithm belongs to the key.
func TestATK_J04_AlgorithmSwap(t *testing.T) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 3072)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	long := []byte("0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz")
	for _, c := range []struct {
		own, other string
		key        any
		with       any
	}{
		{"RS256", "PS256", rsaKey, rsaKey}, {"PS256", "RS256", rsaKey, rsaKey}, {"ES256", "ES384", ecKey, ec384},
		{"HS256", "HS512", long, long}, {"HS512", "HS256", long, long}, {"HS384", "HS256", long, long},
	} {
		t.Run("ATK-J04 "+c.own+" to "+c.other, func(t *testing.T) {
			// The other algorithm is allowed for another key (STD-T02), which must not matter.
			tok, _ := setup(t, func(cfg *tokens.Config) {
				cfg.Keys = tokens.NewKeyring(tokens.NewKey("k1", c.own, c.key), tokens.NewKey("k2", c.other, c.with))
			})
			for _, alg := range []string{c.own, c.other} {
				header := `{"alg":"` + alg + `","typ":"at+jwt","kid":"k1"}`
				signed := b64(header) + "." + b64(claimsWith())
				sig, err := jwt.GetSigningMethod(alg).Sign(signed, map[bool]any{true: c.key, false: c.with}[alg == c.own])
				if err != nil {
					t.Fatal(err)
				}
				raw := signed + "." + b64(string(sig))
				if alg == c.own {
					accepted(t, tok, raw)
				} else {
					refused(t, tok, raw, tokens.ErrSignature)
				}
			}
			// A good signature by the key's own algorithm under a header that names another one.
			signed := b64(`{"alg":"`+c.other+`","typ":"at+jwt","kid":"k1"}`) + "." + b64(claimsWith())
			sig, err := jwt.GetSigningMethod(c.own).Sign(signed, c.key)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, tok, signed+"."+b64(string(sig)), tokens.ErrSignature)
		})
	}
}

// STD-T25.
func TestATK_J05_ECDSASignatures(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	list := revocation.NewMemory()
	tok, _ := setup(t, func(c *tokens.Config) { c.Keys, c.List = tokens.NewKeyring(tokens.NewKey("k1", "ES256", key)), list })
	raw := issue(t, tok, auth.Principal{Subject: "ann"})
	signed := raw[:strings.LastIndexByte(raw, '.')]
	sig, err := base64.RawURLEncoding.DecodeString(raw[len(signed)+1:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	pair := func(r, s *big.Int) string {
		var buf [64]byte
		r.FillBytes(buf[:32])
		s.FillBytes(buf[32:])
		return string(buf[:])
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	zero, one := new(big.Int), big.NewInt(1)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"r=s=0": pair(zero, zero), "r=0": pair(zero, s), "s=0": pair(r, zero), "r=s=n": pair(n, n), "r=n": pair(n, s), "s=n": pair(r, n),
		"s=n+1": pair(r, new(big.Int).Add(n, one)), "r=s=1": pair(one, one), "DER": string(der),
		"63 bytes": string(sig[:63]), "65 bytes": string(sig) + "\x00", "96 bytes": string(sig) + strings.Repeat("\x00", 32),
		"zero in front": "\x00" + string(sig),
	} {
		t.Run("ATK-J05 "+name, func(t *testing.T) { refused(t, tok, signed+"."+b64(bad), tokens.ErrSignature) })
	}
	t.Run("ATK-J05 the twin of high s is the same token", func(t *testing.T) {
		// ECDSA has two signatures for each message. The twin verifies, and carries the same jti: ending one ends
		// both, also where the cache remembers them.
		twin := signed + "." + b64(pair(r, new(big.Int).Sub(n, s)))
		p := accepted(t, tok, twin)
		accepted(t, tok, raw)
		if err := list.Revoke(context.Background(), auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, TokenID: p.TokenID}); err != nil {
			t.Fatal(err)
		}
		refused(t, tok, raw, auth.TokenRevoked)
		refused(t, tok, twin, auth.TokenRevoked)
	})
}

func TestATK_J06_Signature(t *testing.T) {
	tok, _ := setup(t)
	good, other := forge(goodHeader, claimsWith()), forge(goodHeader, claimsWith("sub", `"bob"`))
	cut := strings.LastIndexByte(good, '.') + 1
	sig, _ := base64.RawURLEncoding.DecodeString(good[cut:])
	flipped := append([]byte(nil), sig...)
	flipped[0] ^= 1
	for name, c := range map[string]struct {
		sig    string
		reason error
	}{
		"empty":              {"", tokens.ErrMalformed},
		"of another token":   {other[strings.LastIndexByte(other, '.')+1:], tokens.ErrSignature},
		"truncated":          {b64(string(sig[:31])), tokens.ErrSignature},
		"one byte":           {b64("x"), tokens.ErrSignature},
		"with trailing byte": {b64(string(sig) + "x"), tokens.ErrSignature},
		"one bit":            {b64(string(flipped)), tokens.ErrSignature},
		"of another key":     {b64(macOf([]byte("another key of more than thirty-two bytes"), good[:cut-1])), tokens.ErrSignature},
	} {
		t.Run("ATK-J06 "+name, func(t *testing.T) { refused(t, tok, good[:cut]+c.sig, c.reason) })
	}
}

// STD-T14: a kid is looked up in a map and nowhere else. The JWKS side is in remote_test.go.
func TestATK_J07_KeyID(t *testing.T) {
	tok, _ := setup(t)
	for name, kid := range map[string]string{
		"path": `"../../dev/null"`, "proc": `"/proc/self/environ"`, "SQL": `"' UNION SELECT 'x"`, "shell": `"$(id)"`,
		"star": `"*"`, "NUL": `"k1\u0000"`, "unknown": `"k2"`, "other case": `"K1"`, "10 KiB": `"` + strings.Repeat("k", 10<<10) + `"`,
		"1 KiB": `"` + strings.Repeat("k", 1<<10) + `"`, "number": `1`, "list": `["k1"]`, "empty": `""`, "null": `null`, "absent": ``,
	} {
		header := `{"alg":"HS256","typ":"at+jwt","kid":` + kid + `}`
		if kid == "" {
			header = `{"alg":"HS256","typ":"at+jwt"}`
		}
		t.Run("ATK-J07 "+name, func(t *testing.T) { refused(t, tok, forge(header, claimsWith()), auth.TokenInvalid) })
	}
}

// STD-T12, STD-T13, STD-T27: nothing in a header may say how to verify or read the token. Foreign tokens, which may
// have further header members, are held to it as well.
func TestATK_J08_J09_HeaderMembers(t *testing.T) {
	own, _ := setup(t)
	foreign, _ := setup(t, func(c *tokens.Config) { c.AllowForeign = true })
	for _, member := range []string{
		`"jku":"http://127.0.0.1:1/jwks"`, `"jku":"http://169.254.169.254/"`, `"x5u":"https://evil.example/"`,
		`"jwk":{"kty":"oct","k":"AAAA"}`, `"x5c":["MIIB"]`, `"jku":""`,
		`"crit":["exp"]`, `"crit":["unknown"]`, `"crit":[]`, `"crit":"exp"`, `"crit":["alg"]`, `"crit":null`,
		`"b64":false`, `"crit":["b64"],"b64":false`, `"b64":true`, `"cty":"JWT"`, `"zip":"DEF"`, `"p2c":2000000000`, `"enc":"A256GCM"`,
		`"JKU":"http://127.0.0.1:1/"`, `"Crit":["x"]`, `"ALG":"none"`, `"Kid":"k2"`, `"TYP":"x"`, `"\u006au":1,"jk\u0075":"http://127.0.0.1:1/"`,
	} {
		header := strings.TrimSuffix(goodHeader, "}") + "," + member + "}"
		t.Run("ATK-J08 ATK-J09 "+member, func(t *testing.T) {
			refused(t, own, forge(header, claimsWith()), tokens.ErrMalformed)
			refused(t, foreign, forge(header, claimsWith()), tokens.ErrMalformed)
		})
	}
	t.Run("a harmless member is refused in own tokens only", func(t *testing.T) {
		raw := forge(strings.TrimSuffix(goodHeader, "}")+`,"x5t":"abc"}`, claimsWith())
		refused(t, own, raw, tokens.ErrMalformed)
		accepted(t, foreign, raw)
	})
}

// STD-T10.
func TestATK_J10_Duplicates(t *testing.T) {
	tok, _ := setup(t)
	foreign, _ := setup(t, func(c *tokens.Config) { c.AllowForeign = true })
	for name, raw := range map[string]string{
		"sub":         forge(goodHeader, claimsWith("su", `"x","sub":"bob"`)),
		"exp":         forge(goodHeader, claimsWith("x", `1,"exp":99999999999`)),
		"unknown":     forge(goodHeader, claimsWith("x", `1,"x":2`)),
		"nested":      forge(goodHeader, claimsWith("x", `{"a":1,"a":2}`)),
		"alg":         forge(`{"alg":"none","typ":"at+jwt","kid":"k1","alg":"HS256"}`, claimsWith()),
		"kid":         forge(`{"alg":"HS256","typ":"at+jwt","kid":"k2","kid":"k1"}`, claimsWith()),
		"ATK-J11 \\u": forge(goodHeader, claimsWith("\\u0073ub", `"bob"`)),
	} {
		t.Run("ATK-J10 "+name, func(t *testing.T) {
			refused(t, tok, raw, tokens.ErrMalformed)
			refused(t, foreign, raw, tokens.ErrMalformed)
		})
	}
}

// STD-T11: encoding/json takes each of these for the claim it resembles.
func TestATK_J11_CaseFolding(t *testing.T) {
	tok, _ := setup(t)
	for _, name := range []string{"SUB", "Sub", "ſub", "Exp", "EXP", "Iss", "iſs", "AUD", "Roles", "ROLES", "roleſ", "TENANT", "Jti", "Ver", "client_ID", "Nbf", "amR"} {
		t.Run("ATK-J11 "+name, func(t *testing.T) {
			refused(t, tok, forge(goodHeader, claimsWith(name, `"admin"`)), tokens.ErrMalformed)
			refused(t, tok, forge(goodHeader, claimsWith(strings.ToLower(name), "", name, `"ann"`)), auth.TokenInvalid)
		})
	}
}

func TestATK_J12_NotAnObject(t *testing.T) {
	tok, _ := setup(t)
	for name, payload := range map[string]string{
		"null": `null`, "list": `[]`, "list of claims": `[` + claimsWith() + `]`, "string": `"sub"`, "number": `1`, "true": `true`, "empty object": `{}`,
		"trailing object": claimsWith() + `{}`, "trailing text": claimsWith() + `x`, "twice": claimsWith() + claimsWith(), "trailing NUL": claimsWith() + "\x00",
		"leading space": " " + claimsWith(), "cut off": claimsWith()[:20], "comment": claimsWith() + "/**/",
	} {
		t.Run("ATK-J12 "+name, func(t *testing.T) { refused(t, tok, forge(goodHeader, payload), auth.TokenInvalid) })
	}
}

// STD-T15.
func TestATK_J13_Expiry(t *testing.T) {
	tok, _ := setup(t)
	day := noon.Add(24 * time.Hour).Unix()
	for name, c := range map[string]struct {
		exp    string
		reason error
	}{
		"absent": {"", tokens.ErrMalformed}, "null": {`null`, tokens.ErrMalformed}, "0": {`0`, tokens.ErrMalformed}, "-1": {`-1`, tokens.ErrMalformed},
		"string": {fmt.Sprintf(`"%d"`, day), tokens.ErrMalformed}, "true": {`true`, tokens.ErrMalformed}, "list": {fmt.Sprintf(`[%d]`, day), tokens.ErrMalformed},
		"1e308": {`1e308`, tokens.ErrMalformed}, "1e10": {`1e10`, tokens.ErrMalformed}, "2^63-1": {`9223372036854775807`, tokens.ErrMalformed}, "2^63": {`9223372036854775808`, tokens.ErrMalformed},
		"2^53+1": {`9007199254740993`, tokens.ErrMalformed}, "1.9": {`1.9`, tokens.ErrMalformed}, "a fraction": {fmt.Sprintf(`%d.5`, noon.Unix()+60), tokens.ErrMalformed},
		"year 9999": {`253402300799`, tokens.ErrMalformed}, "over the longest life": {fmt.Sprint(day + 1), tokens.ErrMalformed}, "NaN": {`NaN`, tokens.ErrMalformed},
		"now": {fmt.Sprint(noon.Unix() - 1), tokens.ErrMalformed}, // before iat
	} {
		t.Run("ATK-J13 "+name, func(t *testing.T) { refused(t, tok, forge(goodHeader, claimsWith("exp", c.exp)), c.reason) })
	}
}

// STD-T16.
func TestExpiryAndLeeway(t *testing.T) {
	exp := noon.Add(10 * time.Minute)
	for _, leeway := range []time.Duration{0, 30 * time.Second, time.Minute} {
		tok, clk := setup(t, func(c *tokens.Config) { c.Leeway = leeway })
		raw := forge(goodHeader, claimsWith())
		clk.t = exp.Add(leeway - time.Nanosecond)
		accepted(t, tok, raw)
		clk.t = exp.Add(leeway) // STD-T16: equal to exp is over, cached or not
		refused(t, tok, raw, tokens.ErrExpired)
		refused(t, tok, raw, auth.TokenExpired)
	}
}

// STD-T17.
func TestATK_J14_NotBeforeAndIssuedAt(t *testing.T) {
	tok, _ := setup(t)
	at := func(d time.Duration) string { return fmt.Sprint(noon.Add(d).Unix()) }
	for name, c := range map[string]struct {
		claim, value string
		reason       error
	}{
		"nbf -1": {"nbf", `-1`, tokens.ErrMalformed}, "nbf far future": {"nbf", `99999999999`, tokens.ErrNotYetValid}, "nbf string": {"nbf", `"1"`, tokens.ErrMalformed},
		"nbf absurd": {"nbf", `9007199254740993`, tokens.ErrMalformed}, "nbf beyond the skew": {"nbf", at(31 * time.Second), tokens.ErrNotYetValid},
		"auth_time absurd": {"auth_time", `9223372036854775807`, tokens.ErrMalformed}, "auth_time ahead": {"auth_time", at(time.Hour), tokens.ErrNotYetValid},
		"iat beyond the skew": {"iat", at(31 * time.Second), tokens.ErrNotYetValid}, "iat far future": {"iat", `99999999999`, tokens.ErrMalformed},
		"iat after exp": {"iat", at(11 * time.Minute), tokens.ErrMalformed}, "iat equal to exp": {"iat", at(10 * time.Minute), tokens.ErrMalformed},
		"iat absent": {"iat", ``, tokens.ErrMalformed}, "iat -1": {"iat", `-1`, tokens.ErrMalformed}, "iat min": {"iat", `-9223372036854775808`, tokens.ErrMalformed},
	} {
		t.Run("ATK-J14 "+name, func(t *testing.T) { refused(t, tok, forge(goodHeader, claimsWith(c.claim, c.value)), c.reason) })
	}
	for claim, value := range map[string]string{"jti": ``, "ver": `-1`, "auth_time": `-1`, "sub": ``} {
		t.Run("no or bad "+claim, func(t *testing.T) {
			refused(t, tok, forge(goodHeader, claimsWith(claim, value)), tokens.ErrMalformed)
		})
	}
	t.Run("within the skew", func(t *testing.T) {
		accepted(t, tok, forge(goodHeader, claimsWith("nbf", at(30*time.Second), "iat", at(30*time.Second))))
	})
}

// STD-T18.
func TestATK_J15_Audience(t *testing.T) {
	own, _ := setup(t)
	foreign, _ := setup(t, func(c *tokens.Config) { c.AllowForeign = true })
	for name, c := range map[string]struct {
		aud          string
		own, foreign error
	}{
		"list with own and foreign": {`["api","other"]`, tokens.ErrAudience, nil},
		"list of one":               {`["api"]`, tokens.ErrAudience, nil},
		"list of others":            {`["a","b"]`, tokens.ErrAudience, tokens.ErrAudience},
		"empty list":                {`[]`, tokens.ErrAudience, tokens.ErrAudience},
		"nested list":               {`[["api"]]`, tokens.ErrMalformed, tokens.ErrMalformed},
		"object":                    {`{"api":1}`, tokens.ErrMalformed, tokens.ErrMalformed},
		"null":                      {`null`, tokens.ErrMalformed, tokens.ErrMalformed},
		"number":                    {`1`, tokens.ErrMalformed, tokens.ErrMalformed},
		"empty string":              {`""`, tokens.ErrAudience, tokens.ErrAudience},
		"absent":                    {``, tokens.ErrAudience, tokens.ErrAudience},
		"other case":                {`"API"`, tokens.ErrAudience, tokens.ErrAudience},
		"prefix":                    {`"ap"`, tokens.ErrAudience, tokens.ErrAudience},
		"longer":                    {`"api2"`, tokens.ErrAudience, tokens.ErrAudience},
		"with a space":              {`"api "`, tokens.ErrAudience, tokens.ErrAudience},
	} {
		t.Run("ATK-J15 "+name, func(t *testing.T) {
			raw := forge(goodHeader, claimsWith("aud", c.aud))
			refused(t, own, raw, c.own)
			if c.foreign == nil {
				accepted(t, foreign, raw)
			} else {
				refused(t, foreign, raw, c.foreign)
			}
		})
	}
}

// STD-T19.
func TestATK_J16_Issuer(t *testing.T) {
	tok, _ := setup(t)
	for _, iss := range []string{`"HTTPS://api.example.com"`, `"https://api.example.com/"`, `"https://api.example.com/tenant"`, `"https://evil.example"`, `""`, ``, `null`} {
		t.Run("ATK-J16 "+iss, func(t *testing.T) {
			refused(t, tok, forge(goodHeader, claimsWith("iss", iss)), tokens.ErrIssuer)
		})
	}
	t.Run("STD-T19 a list", func(t *testing.T) {
		refused(t, tok, forge(goodHeader, claimsWith("iss", `["`+issuer+`"]`)), tokens.ErrMalformed)
	})
}

// STD-T26: encoding/json would replace the bytes, and two subjects would become one.
func TestATK_J17_Encoding(t *testing.T) {
	tok, _ := setup(t)
	for name, raw := range map[string]string{
		"invalid UTF-8":         forge(goodHeader, claimsWith("sub", "\"a\xff\"")),
		"overlong":              forge(goodHeader, claimsWith("sub", "\"\xc0\xaf\"")),
		"CESU surrogate":        forge(goodHeader, claimsWith("sub", "\"\xed\xa0\x80\"")),
		"lone surrogate":        forge(goodHeader, claimsWith("sub", `"\ud800"`)),
		"swapped surrogates":    forge(goodHeader, claimsWith("sub", `"\udc00\ud800"`)),
		"BOM":                   forge(goodHeader, "\xef\xbb\xbf"+claimsWith()),
		"UTF-16":                forge(goodHeader, "\xff\xfe{\x00}\x00"),
		"in an unknown member":  forge(goodHeader, claimsWith("x", "\"\xff\"")),
		"in a name":             forge(goodHeader, claimsWith("x\xff", "1")),
		"in the header":         forge("{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"k1\xff\"}", claimsWith()),
		"BOM before the header": forge("\xef\xbb\xbf"+goodHeader, claimsWith()),
	} {
		t.Run("ATK-J17 "+name, func(t *testing.T) { refused(t, tok, raw, tokens.ErrMalformed) })
	}
	t.Run("ATK-J17 and none is issued", func(t *testing.T) {
		stamp, _ := tok.Stamp(context.Background())
		if _, _, err := tok.Issue(stamp, &auth.Principal{Subject: "a\xff"}); err == nil {
			t.Error("a subject with invalid UTF-8 was issued")
		}
	})
}

// STD-T07, STD-T08: one token has one spelling.
func TestATK_J18_Spelling(t *testing.T) {
	tok, _ := setup(t)
	good := forge(goodHeader, claimsWith())
	accepted(t, tok, good)
	parts := strings.Split(good, ".")
	for name, raw := range map[string]string{
		"CR": good[:30] + "\r" + good[30:], "LF": good[:30] + "\n" + good[30:], "CRLF behind": good + "\r\n", "LF in front": "\n" + good,
		"space": good[:30] + " " + good[30:], "space behind": good + " ", "padding": good + "=", "padded header": parts[0] + "==." + parts[1] + "." + parts[2],
		"NUL": good + "\x00", "high byte": good + "\xff", "brace": "{" + good, "question mark": good + "?",
		"twice encoded": b64(parts[0]) + "." + b64(parts[1]) + "." + b64(parts[2]),
		"spare bits":    respell(good),
		"plus":          strings.Replace(forge(goodHeader, claimsWith("x", `"???>>>"`)), "_", "/", -1),
	} {
		t.Run("ATK-J18 "+name, func(t *testing.T) {
			if raw == good {
				t.Fatal("the token was not respelled")
			}
			refused(t, tok, raw, auth.TokenInvalid)
		})
	}
	t.Run("ATK-J18 a whole token as a claim of another", func(t *testing.T) {
		if p := accepted(t, tok, forge(goodHeader, claimsWith("sub", `"eve"`, "token", `"`+good+`"`))); p.Subject != "eve" {
			t.Errorf("got %s", p.Subject)
		}
	})
	// In bulk: each single byte of a good token replaced by each byte outside the alphabet.
	for i := range good {
		for _, c := range []byte("\r\n\t =+/{}\"\x00\x7f\x80\xff") {
			if raw := good[:i] + string([]byte{c}) + good[i+1:]; raw != good {
				if _, err := tok.Verify(context.Background(), raw); err == nil {
					t.Fatalf("accepted with %q at %d", c, i)
				}
			}
		}
	}
}

// respell sets spare bits in the last character of the signature: 32 bytes are 43 characters with 2 bits to spare.
func respell(raw string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	return raw[:len(raw)-1] + string(alphabet[last|1])
}

// STD-T09, STD-T27.
func TestATK_J19_Form(t *testing.T) {
	tok, _ := setup(t)
	good := forge(goodHeader, claimsWith())
	parts := strings.Split(good, ".")
	for name, raw := range map[string]string{
		"empty": "", "one segment": parts[0], "two segments": parts[0] + "." + parts[1], "four segments": good + "." + parts[2],
		"five segments (JWE)": parts[0] + "." + parts[1] + "." + parts[2] + "." + parts[1] + "." + parts[2],
		"empty header":        "." + parts[1] + "." + parts[2], "empty payload": parts[0] + ".." + parts[2], "dots": "..", "dot": ".", "leading dot": "." + good, "trailing dot": good + ".",
		"JSON serialization": `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`,
		"flattened":          `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"cty":                forge(`{"alg":"HS256","typ":"at+jwt","kid":"k1","cty":"JWT"}`, good),
		"nested without cty": forge(goodHeader, good),
		"zip":                forge(`{"alg":"HS256","typ":"at+jwt","kid":"k1","zip":"DEF"}`, strings.Repeat("\x00", 1000)),
		"PBES2":              forge(`{"alg":"PBES2-HS256+A128KW","p2c":2147483647,"p2s":"AAAA","kid":"k1"}`, claimsWith()),
	} {
		t.Run("ATK-J19 "+name, func(t *testing.T) { refused(t, tok, raw, tokens.ErrMalformed) })
	}
}

// STD-T28: what a stranger sends costs a bounded amount of work and memory.
func TestATK_J20_Size(t *testing.T) {
	tok, _ := setup(t, func(c *tokens.Config) { c.Cache = -1 })
	deep := func(n int) string { return claimsWith("x", strings.Repeat("[", n)+strings.Repeat("]", n)) }
	many := `{"a0":0`
	for i := 1; len(many) < 1<<20; i++ {
		many += strings.Repeat(fmt.Sprintf(`,"a%d":0`, i), 1)
		if i > 20_000 {
			break
		}
	}
	sized := func(n int) string { // a well-signed token of exactly n bytes
		for pad := n * 3 / 4; pad > 0; pad-- {
			if raw := forge(goodHeader, claimsWith("x", `"`+strings.Repeat("x", pad)+`"`)); len(raw) <= n {
				for extra := 0; len(raw) < n && extra < 8; extra++ {
					raw = forge(strings.TrimSuffix(goodHeader, "}")+strings.Repeat(" ", extra)+"}", claimsWith("x", `"`+strings.Repeat("x", pad)+`"`))
				}
				return raw
			}
		}
		return ""
	}
	if raw := sized(8 << 10); len(raw) != 8<<10 {
		t.Fatalf("got %d bytes", len(raw))
	} else {
		accepted(t, tok, raw)
	}
	for name, raw := range map[string]string{
		"8 KiB+1":                   forge(goodHeader, claimsWith("x", `"`+strings.Repeat("x", 8<<10)+`"`)),
		"1 MiB header":              forge(`{"alg":"HS256","typ":"at+jwt","kid":"`+strings.Repeat("k", 1<<20)+`"}`, claimsWith()),
		"10,000 deep":               forge(goodHeader, deep(10_000)),
		"9 deep":                    forge(goodHeader, deep(8)),
		"3,000 deep, never closed":  forge(goodHeader, strings.Repeat(`{"a":`, 600)),
		"deep header":               forge(strings.TrimSuffix(goodHeader, "}")+`,"x":`+strings.Repeat("[", 500)+strings.Repeat("]", 500)+`}`, claimsWith()),
		"20,000 claims":             forge(goodHeader, many+"}"),
		"10 MiB of dots":            strings.Repeat(".", 10<<20),
		"10 MiB of one letter":      strings.Repeat("A", 10<<20),
		"brackets inside a string…": forge(goodHeader, claimsWith("x", `"`+strings.Repeat("[", 7000)+`"`)),
	} {
		t.Run("ATK-J20 "+name, func(t *testing.T) {
			refused(t, tok, raw, tokens.ErrMalformed)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 10 {
				_, _ = tok.Verify(context.Background(), raw)
			}
			runtime.ReadMemStats(&after)
			if per := (after.TotalAlloc - before.TotalAlloc) / 10; per > 64<<10 {
				t.Errorf("a refusal allocated %d bytes, at most 64 KiB expected", per)
			}
		})
	}
	t.Run("brackets inside a string are no depth", func(t *testing.T) {
		accepted(t, tok, forge(goodHeader, claimsWith("x", `"`+strings.Repeat("[{", 50)+`\"`+strings.Repeat("[", 50)+`"`)))
		accepted(t, tok, forge(goodHeader, deep(7)))
	})
	t.Run("and none is issued", func(t *testing.T) {
		stamp, _ := tok.Stamp(context.Background())
		if _, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann", Roles: []string{strings.Repeat("r", 8<<10)}}); err == nil {
			t.Error("a token over 8 KiB was issued")
		}
	})
}

// STD-T29, PROTOCOLS 1.
func TestATK_J22_KeysOutOfUse(t *testing.T) {
	oldKey, newKey := tokens.HS256("k1", rawKey), tokens.HS256("k2", []byte("the new key, of more than thirty-two bytes"))
	ring := tokens.NewKeyring(oldKey)
	tok, clk := setup(t, func(c *tokens.Config) { c.Keys = ring })
	replace := func(sign tokens.Key, accept ...tokens.Key) {
		t.Helper()
		if err := ring.Replace(sign, accept...); err != nil {
			t.Fatal(err)
		}
	}
	byOld := issue(t, tok, auth.Principal{Subject: "ann"})
	byNew := forgeWith([]byte("the new key, of more than thirty-two bytes"), `{"alg":"HS256","typ":"at+jwt","kid":"k2"}`, claimsWith())
	refused(t, tok, byNew, tokens.ErrSignature) // not yet active
	replace(oldKey, newKey)                     // add: accepted everywhere before it signs anywhere
	accepted(t, tok, byNew)
	replace(newKey, oldKey) // promote
	accepted(t, tok, byOld)
	accepted(t, tok, issue(t, tok, auth.Principal{Subject: "ann"}))
	replace(newKey, oldKey.During(time.Time{}, noon.Add(time.Minute))) // retire: a date for the last of its tokens
	accepted(t, tok, byOld)
	clk.t = noon.Add(time.Minute)
	refused(t, tok, byOld, tokens.ErrSignature)
	clk.t = noon
	replace(newKey, oldKey)
	accepted(t, tok, byOld)
	replace(newKey) // remove: dead at once, although it stands in the cache
	refused(t, tok, byOld, tokens.ErrSignature)
	accepted(t, tok, byNew)

	t.Run("ATK-J22 not yet active by date", func(t *testing.T) {
		replace(newKey, oldKey.During(noon.Add(time.Minute), time.Time{}))
		refused(t, tok, byOld, tokens.ErrSignature)
	})
	t.Run("ATK-J22 a public key cannot sign", func(t *testing.T) {
		pub, _, _ := ed25519.GenerateKey(rand.Reader)
		_, err := tokens.New(tokens.Config{Keys: tokens.NewKeyring(tokens.NewKey("k1", "EdDSA", pub)), Issuer: issuer, Audience: audience})
		if err != nil {
			return // refused at construction: just as well
		}
		tok, _ := setup(t, func(c *tokens.Config) { c.Keys = tokens.NewKeyring(tokens.NewKey("k1", "EdDSA", pub)) })
		stamp, _ := tok.Stamp(context.Background())
		if _, _, err := tok.Issue(stamp, &auth.Principal{Subject: "ann"}); err == nil {
			t.Error("a token was signed by a public key")
		}
	})
}

// ATK-J26: whatever the clock does, a token is not good for longer than its life and the leeway by server time.
func TestATK_J26_Clock(t *testing.T) {
	tok, clk := setup(t)
	raw := issue(t, tok, auth.Principal{Subject: "ann"})
	accepted(t, tok, raw)
	clk.t = noon.Add(-10 * time.Minute) // set back: the token is from the future, also when it is remembered
	refused(t, tok, raw, tokens.ErrNotYetValid)
	clk.t = noon.Add(10 * time.Minute)
	accepted(t, tok, raw)
	clk.t = noon.Add(15 * time.Minute)
	refused(t, tok, raw, tokens.ErrExpired)
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(1<<40, 0), time.Date(2016, 12, 31, 23, 59, 60, 0, time.UTC)} {
		clk.t = at
		if _, err := tok.Verify(context.Background(), raw); err == nil {
			t.Errorf("accepted at %s", at)
		}
	}
}

// ATK-J27: a token that a provider made for its client is no access token of ours.
func TestATK_J27_ProviderTokens(t *testing.T) {
	tok, _ := setup(t)
	now := fmt.Sprint(noon.Unix())
	idToken := `{"iss":"https://accounts.example","sub":"ann","aud":"client","azp":"client","nonce":"n","exp":` + fmt.Sprint(noon.Unix()+600) + `,"iat":` + now + `}`
	refused(t, tok, forge(`{"alg":"HS256","typ":"JWT","kid":"k1"}`, idToken), tokens.ErrKind)
	refused(t, tok, forge(`{"alg":"HS256","kid":"k1"}`, idToken), tokens.ErrKind)
	refused(t, tok, forge(goodHeader, idToken), tokens.ErrIssuer)
	refused(t, tok, "ya29.a0AfH6SMBx-opaque-access-token", tokens.ErrMalformed)
	refused(t, tok, "gho_16C7e42F292c6912E7710c838347Ae178B4a", tokens.ErrMalformed)
}
