package password_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// Hashes that other systems made, each from the documentation or the tests of the library named.
var vectors = []struct{ name, password, hash string }{
	{"argon2-cffi README", "correct horse battery staple", "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"},
	{"argon2-cffi 19", "s3kr3tp4ssw0rd", "$argon2id$v=19$m=102400,t=2,p=8$tSm+JOWigOgPZx/g44K5fQ$WDyus6py50bVFIPkjA28lQ"},
	{"argon2-cffi 16", "s3kr3tp4ssw0rd", "$argon2i$v=19$m=512,t=2,p=2$5VtWOO3cGWYQHEMaYGbsfQ$AcmqasQgW/wI6wAHAMk4aQ"},
	{"reference argon2i", "password", "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$IMit9qkFULCMA/ViizL57cnTLOa5DiVM9eMwpAvPwr4"},
	{"reference argon2id", "password", "$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo"},
	{"passlib argon2", "password", "$argon2i$v=19$m=512,t=2,p=2$aI2R0hpDyLm3ltLa+1/rvQ$LqPKjd6n8yniKtAithoR7A"},
	{"passlib bcrypt, 2a", "U*U*U*U*", "$2a$05$c92SVSfjeiCD6F2nAD6y0uBpJDjdRkt0EgeC4/31Rf2LUZbDRDE.O"},
	{"passlib bcrypt, 2a", "U*U***U", "$2a$05$WY62Xk2TXZ7EvVDQ5fmjNu7b0GEzSzUXUh2cllxJwhtOeMtWV3Ujq"},
	{"crypt_blowfish", "U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
	{"crypt_blowfish", "U*U*U", "$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a"},
	{"passlib bcrypt, 2b", "password", "$2b$12$bIRGj4QPPoSUMWsJE.4Pk.T1qTpDWz7HhMnuiQhGzGinKPsx/HQdq"},
	{"passlib bcrypt, 2y", "password", "$2y$12$hXUrnqdq1RIIYZ2HPytIIe5lXdIvbhqrTvdPsSF7o.jFh817Z6lwm"},
	{"passlib bcrypt_sha256, version 1", "password", "$bcrypt-sha256$2a,5$5Hg1DKFqPE8C2aflZ5vVoe$12BjNE0p7axMg55.Y/mHsYiVuFBDQyu"},
	{"passlib bcrypt_sha256, version 1", "password", "$bcrypt-sha256$2b,5$5Hg1DKFqPE8C2aflZ5vVoe$12BjNE0p7axMg55.Y/mHsYiVuFBDQyu"},
	{"passlib bcrypt_sha256, version 2", "password", "$bcrypt-sha256$v=2,t=2b,r=5$5Hg1DKFqPE8C2aflZ5vVoe$wOK1VFFtS8IGTrGa7.h5fs0u84qyPbS"},
	{"passlib bcrypt_sha256, 75 bytes", long75, "$bcrypt-sha256$2b,5$X1g1nh3g0v4h6970O68cxe$021KLEif6epjot5yoxk0m8I0929ohEa"},
	{"passlib bcrypt_sha256, 75 bytes", long75, "$bcrypt-sha256$v=2,t=2b,r=5$X1g1nh3g0v4h6970O68cxe$CBF9csfEdW68xv3DwE6xSULXMtqEFP."},
	{"passlib's documents, pbkdf2_sha256", "password", "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M"},
	{"passlib's documents, salt of 10 bytes", "password", "$pbkdf2-sha256$8000$XAuBMIYQQogxRg$tRRlz8hYn63B9LYiCd6PRo6FMiunY9ozmMMI3srxeRE"},
	{"passlib 1.7.4, pbkdf2_sha256", "correct horse battery staple", "$pbkdf2-sha256$29000$mjPGmPMeo/Q.55wTAuDc2w$55KixDUcK0OvNsphJKcPCf8eKnt/dg.mEllit22F5wk"},
	{"passlib 1.7.4, salt of 8 bytes", "p\u00e4ssw\u00f6rd \u9375", "$pbkdf2-sha256$1000$Vyol5DynFII$aoPApHV3UT/MEOb2SwGLfM/g8c6FNjokoyX1ZjMy0xY"},
	{"passlib 1.7.4, salt of 64 bytes", "correct horse battery staple", "$pbkdf2-sha256$1000$MMZYC0FobU1pDSEEoDTGeI.RklLKOYcQ4ryXkpKyFoKw9j5n7P2/15oTgjDm3JvTGgNgjDFmTCmFMOZ8j3EO4Q$1B9ybFkK67JI4s2kicq3TWuvjlwCUkyhaz8Uno1waLY"},
	{"passlib 1.7.4, pbkdf2_sha512", "correct horse battery staple", "$pbkdf2-sha512$25000$/P8fo1RKCQFASAkh5Bzj3A$j5ynSf9L.rQ/IFu6PUrixzOl6snDgrmC8HPhPJ8HW9CUk5HN4IhPOUGqych97gSbjhIStgq0PMbamzMMW4DKNQ"},
	{"passlib 1.7.4, one round", strings.Repeat("x", 100), "$pbkdf2-sha512$1$rbVWag1BiBFiDGHM.X8PAQ$QkC6Syb3tUBqNYVc3MjuX1c/sDVBwLP2ZSrfv8mfHHVRsQVGEOIETUn418V7L4rUzg7KAS9mW.D1.fA1OxEUTQ"},
	{"passlib 1.7.4, argon2id", "correct horse battery staple", "$argon2id$v=19$m=102400,t=2,p=8$fY/xfq+VMsY4xxgjxBiDMA$0hhKrcCW5iDLHdzZGgyGfQ"},
	{"passlib 1.7.4, argon2i", "correct horse battery staple", "$argon2i$v=19$m=12288,t=2,p=2$eG9tjdEa43yPcc55TwlhTA$dGHwqVc6G6oLZTBNDeZJIg"},
	{"passlib 1.7.4, bcrypt", "correct horse battery staple", "$2b$04$9kVchwBHjzabGUEACGvsaORdyvVp9ADoj4uut/9rOXyQOnvu0jqwC"},
	{"passlib 1.7.4, bcrypt_sha256", "correct horse battery staple", "$bcrypt-sha256$v=2,t=2b,r=4$lJSkGZiS6C3THm/zaCRaWO$8JmMBa1fH2ifw.M7qh6f2XfWXwoemvC"},
	{"passlib 1.7.4, bcrypt_sha256 of 140 bytes", strings.Repeat("correct horse battery staple", 5), "$bcrypt-sha256$v=2,t=2b,r=4$KGUnQ7uvqu571QjqX0/Xdu$XHu6UOBDEb5bV3imStP0hkEM18Q0a9."},
	{"passlib 1.7.4, pbkdf2_sha1", german, "$pbkdf2$1000$SCklROj9P6f0nrP2vlcK4Q$gqXuToKpJmMlHORnGUQ9ri2L.F8"},
	{"passlib 1.7.4, scrypt", german, "$scrypt$ln=10,r=8,p=1$qtX6/z9HqPVeK4XwvpeS0g$K9oyHs52hy7D2UZzZfIUKOUqeb28hAFIh4Anx/S4rJo"},
	{"passlib 1.7.4, scrypt of other r and p", german, "$scrypt$ln=8,r=3,p=5$k7I2BuBc6x3D+N/7vzcGIA$MKDT7aEHokUbzpACPrg9dcQ3GWI3O6+vInub+nNFnaM"},
	{"passlib 1.7.4, sha256_crypt", german, "$5$rounds=1000$B8oQ3lm64Iw3xrsO$w3mIFjCkTC47LT3oKJZKRDx8CLgkdNH5KWtr/eTIrl5"},
	{"passlib 1.7.4, sha256_crypt of 5,000 rounds", german, "$5$G.7RDeESVInnvVcl$nN.txbf5Pz2iiJWuq.YypVY4Rj4gmk1/TblBKwtjCH4"},
	{"passlib 1.7.4, sha512_crypt", german, "$6$rounds=1001$UfiojbhhehcFUBei$MCLe7Z.kwmoohJpmW9i0zc3VtMSoiV.plKDw.fTzu0Y8z7VzHv6vlQrR8O9fAAtGYf7SYL6YhAICQcMrLpodL/"},
	{"passlib 1.7.4, sha512_crypt of 140 bytes, salt of 3", strings.Repeat("correct horse battery staple", 5), "$6$UkI$mcUCNsfgKXWeXIDhpOpFDtm7TXTmJhq6RdtsLH09gw7CJjb5jJrUN0KnkbwoagIhn9pjB8UAoOcXc720nBLCK0"},
	{"glibc", "Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
	{"glibc, a long salt", "Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"},
	{"glibc, SHA-512", "Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
	{"Django 3.2, pbkdf2_sha256", german, "pbkdf2_sha256$1000$OkKAdpuJnp8nfrmdfAj0Bu$eetxa943NDrREBgSu3AmN1FFCSgoVKwYXN81AuaAppc="},
	{"Django 3.2, pbkdf2_sha256, salt of 1 byte", german, "pbkdf2_sha256$1000$s$K7xewNrehNEiS557Kb+FwACFZhdAyFrRbKw9sl8OwMg="},
	{"Django 3.2, pbkdf2_sha1", german, "pbkdf2_sha1$1000$seasalt$B75dn+8wrSmECsz+BxNR0FjZC4Q="},
	{"Django 3.2, argon2", german, "argon2$argon2id$v=19$m=12288,t=2,p=8$Q3A4WGlUc3ZZQWhDcHpmZ0ZHU2NFTQ$PkiOw5fus6Ne292PfIZKQQ"},
	{"Django 3.2, bcrypt", german, "bcrypt$$2b$04$WvkgxoFiXhd8W1CXT9QLMeZZdsaWw16naSXnW6EoSC2JBoVnnKsL."},
	{"Django 3.2, bcrypt_sha256 of 140 bytes", strings.Repeat("correct horse battery staple", 5), "bcrypt_sha256$$2b$04$1VGWbD6jrWXHOfT35dMh.uiQ5cigSdkLQDBqs..wpkc35zkBWdqN2"},
	{"passlib 1.7.4, django_bcrypt_sha256", german, "bcrypt_sha256$$2b$04$zMWnM7PItCr/HMbSXSYSs.1UReUFkmLeFNYGYsragr1YtFF9AwJ2y"},
	{"Django's tests, scrypt of 4.0", "l\u00e8tmein", "scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NYafTJ7tibgfYz71m0ldQESkXFRkdVCBhhY8mx7rQwite/Pw=="},
	{"Django's tests, scrypt of 5.1", "l\u00e8tmein", "scrypt$16384$seasalt$8$5$ECMIUp+LMxMSK8xB/IVyba+KYGTI7FTnet025q/1f/vBAVnnP3hdYqJuRi+mJn6ji6ze3Fbb7JEFPKGpuEf5vw=="},
	{"Werkzeug 2.2, pbkdf2:sha256", german, "pbkdf2:sha256:1000$mdFQ9AVI$fc719726f6f011053e4c258afc700983a82d47238f931f1ee1ce7af566ff0cec"},
	{"Werkzeug 2.2, pbkdf2:sha1", german, "pbkdf2:sha1:1000$4oFezTi5$00e90930b8c8b7f2395257e33028c0e3e08c1032"},
	{"Werkzeug 2.2, pbkdf2:sha512", german, "pbkdf2:sha512:1000$kxTfvdb3$bd6a4321020c46d1c3d8a9ffc6614fedba3b46eca49412a8db906349a8ea609db9b28e9177ad7c1d18b753fb8f3b74866f63910aeee05854dc47dd5198449c4d"},
	{"Werkzeug's scrypt, by Python's hashlib", german, "scrypt:1024:8:1$abcDEF0123456789$c10e35478fff61c63ecc43ef552408213e3cae5bfa6ebc02cfb5447c40799afc9a3a2aec01972d10e2ec6fdcb31cf3b4ba9d53038ba0b60e7a50e178c6c8c005"},
}

const german = "p\u00e4ssw\u00f6rd \u9375"

// dear are those that take long, and of no other scheme than the cheap ones.
var dear = regexp.MustCompile(`\$12\$|m=65536|m=102400|\$2[59]000\$|scrypt\$16384`)

var long75 = strings.Repeat("abc123", 12) + "qwr"

func TestVerify_Vectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		if raceEnabled && dear.MatchString(v.hash) {
			continue // the detector sees as much in the cheap ones, and in argon2id and bcrypt of the examples
		}
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			h := newHasher(t, cheap)
			rehash, err := h.Verify(t.Context(), v.hash, v.password)
			if err != nil || !rehash {
				t.Errorf("got %v, %v", rehash, err)
			}
			if strings.Contains(v.hash, "$12$") {
				return // dear, and the way to fail is the same at cost 5
			}
			if _, err := h.Verify(t.Context(), v.hash, v.password+"x"); !errors.Is(err, auth.LoginFailed) || errors.Is(err, password.ErrHash) {
				t.Errorf("a wrong password: got %v", err)
			}
			at, first := len(v.hash)-22, "A"
			if strings.EqualFold(v.hash[at:][:1], first) { // a digest in hexadecimal has both cases
				first = "B"
			}
			other := v.hash[:at] + first + v.hash[at+1:]
			if _, err := h.Verify(t.Context(), other, v.password); err == nil {
				t.Error("a changed digest verifies")
			}
		})
	}
}

// What argon2 writes again is what was read: one hash has one spelling, and Hash writes argon2-cffi's.
func TestEncode_Vectors(t *testing.T) {
	for _, v := range vectors {
		if again, _, err := password.Reread(v.hash); err != nil || again != v.hash && again != "" {
			t.Errorf("%s: got %q, %v", v.name, again, err)
		}
	}
}

// STD-P05, ATK-L12: bcrypt reads 72 bytes, and x/crypto's comparison ignores the rest. A longer
// password is refused by a typed error, also when its first 72 bytes are right, unless the named
// option asks for the cut that an earlier system made.
func TestVerify_STD_P05_ATK_L12_Bcrypt72(t *testing.T) {
	t.Parallel()
	// bcrypt of cost 4 of 72 bytes "0123456789..." (passlib's test for the wraparound bug).
	const hash = "$2a$04$R1lJ2gkNaoPGdafE.H.16.1MKHPvmKwryeulRe225LKProWYwt9Oi"
	right := strings.Repeat("0123456789", 26)[:72]
	// é takes two bytes, of which bcrypt reads one.
	across := right[:71] + "é"

	strict := newHasher(t, cheap)
	loose := cheap
	loose.AllowBcryptTruncation = true
	cuts := newHasher(t, loose)
	for _, c := range []struct {
		name, password string
		strict         error
		truncated      bool
	}{
		{"72 bytes", right, nil, true},
		{"72 bytes and one more", right + "x", password.ErrTooLong, true},
		{"72 bytes and a long suffix", strings.Repeat("0123456789", 26)[:255], password.ErrTooLong, true},
		{"a character across byte 72", across, password.ErrTooLong, false},
		{"72 wrong bytes and one more", strings.Repeat("x", 73), password.ErrTooLong, false},
		{"71 bytes", right[:71], auth.LoginFailed, false},
		{"73 bytes in NFD, 72 in NFC", right[:70] + "e\u0301", auth.LoginFailed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := strict.Verify(t.Context(), hash, c.password)
			if c.strict == nil && err != nil || c.strict != nil && (!errors.Is(err, c.strict) || auth.CodeOf(err) != auth.LoginFailed) {
				t.Errorf("got %v", err)
			}
			if c.strict == auth.LoginFailed && errors.Is(err, password.ErrTooLong) {
				t.Errorf("got %v for %d bytes", err, len(c.password))
			}
			if _, err := cuts.Verify(t.Context(), hash, c.password); c.truncated != (err == nil) || errors.Is(err, password.ErrTooLong) {
				t.Errorf("with AllowBcryptTruncation: got %v", err)
			}
		})
	}
	// argon2id reads all of it.
	text := mustHash(t, strict, right)
	if _, err := strict.Verify(t.Context(), text, right+"x"); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("argon2id with a suffix: got %v", err)
	}
}

// ATK-L11: bcrypt repeats the password with a NUL between, so the hash of "a" fits "a\x00a" too.
func TestVerify_ATK_L11_BcryptRepeats(t *testing.T) {
	t.Parallel()
	const hash = "$2a$10$k87L/MF28Q673VKh8/cPi.SUl7MU/rWuSiIDDFayrKk/1tBsSQu4u" // of "a", from jBCrypt
	h := newHasher(t, cheap)
	if _, err := h.Verify(t.Context(), hash, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify(t.Context(), hash, "a\x00a"); auth.CodeOf(err) != auth.LoginFailed {
		t.Errorf("got %v", err)
	}
}
