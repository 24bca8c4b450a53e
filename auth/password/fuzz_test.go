package password_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// FuzzParse: no stored text makes the parser panic or lets a cost above the ceilings through, and an
// argon2 hash has one spelling.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.hash)
	}
	for _, costs := range []string{"m=4194304,t=3,p=4", "m=65536,t=4294967295,p=4", "m=65536,t=3,p=0", "m=65536,t=3,p=255", "m=31,t=1,p=4", "t=3,m=65536,p=4", "m=65536,t=3,p=4,data=AA"} {
		f.Add("$argon2id$v=19$" + costs + "$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg")
	}
	f.Add("$argon2id$v=19$m=65536,t=3,p=4$!!!!$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg")
	for _, text := range []string{
		"$6$rounds=5000$salt$digest", "$5$rounds=1000001$salt$" + strings.Repeat("a", 43), "$5$$" + strings.Repeat("a", 43),
		"$scrypt$ln=22,r=64,p=64$" + raw64(16) + "$" + raw64(32), "$scrypt$ln=1,r=1,p=1$$", "scrypt$4194304$salt$64$64$" + b64(64),
		"scrypt:4194304:64:64$salt$" + strings.Repeat("a", 128), "scrypt:2:1:1$s$" + strings.Repeat("a", 128), "pbkdf2:sha256:99999999999$salt$aa", ":$$", "::$s$",
		"pbkdf2_sha1$4294967295$salt$" + b64(20), "bcrypt$$2b$31$" + strings.Repeat("a", 53), "bcrypt_sha256$", "argon2$argon2id$v=19$m=4294967295,t=16,p=1$$",
		"md5$seasalt$20165960c7b75f0c4670c4444b95825c", "$$$", "$5$", "$pepper$v=1,k=2026",
	} {
		f.Add(text)
	}
	for _, rounds := range []string{"0", "2000001", "4294967295", "01", "+1", ""} {
		f.Add("$pbkdf2-sha256$" + rounds + "$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M")
	}
	for _, name := range []string{"2026", "", "a.b", strings.Repeat("k", 65), "2026$pepper$v=1,k=2026"} {
		f.Add("$pepper$v=1,k=" + name + vectors[0].hash)
		f.Add("$pepper$v=1,k=" + name + "$2b$12$" + strings.Repeat("a", 53))
	}
	f.Add("$pepper$v=1,k=2026$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M")
	f.Add("$2b$31$" + strings.Repeat("a", 53))
	f.Add("")
	f.Add(" ! ")
	f.Add(vectors[0].hash + "   ")
	f.Add(strings.Repeat("$", 300))

	c := cheap
	c.Pepper, c.Schemes = newPepper(f, "2026"), []password.Scheme{watcher{}}
	h, err := password.New(c)
	if err != nil {
		f.Fatal(err)
	}
	n := h.Observe(func(memory, time uint32, lanes uint8) []byte {
		if memory > 256*1024 || memory < 8*uint32(lanes) || time < 1 || time > 16 || lanes < 1 || lanes > 64 {
			panic("argon2 was called with a cost out of range")
		}
		return nil
	})
	f.Fuzz(func(t *testing.T, text string) {
		again, memory, err := password.Reread(text)
		if err != nil {
			if auth.CodeOf(err) != auth.LoginFailed {
				t.Errorf("got %v", err)
			}
			return
		}
		if memory > 256*1024 {
			t.Errorf("%d KiB", memory)
		}
		if again != strings.Trim(text, " \t\r\n\v\f") && again != "" {
			t.Errorf("%q is %q when written again", text, again)
		}
		costs := func() []int64 {
			all := []int64{n.Cost.Load(), n.Scrypt.Load()}
			for i := range n.Rounds {
				all = append(all, n.Rounds[i].Load())
			}
			return all
		}
		before := costs()
		if _, err := h.Verify(t.Context(), text, "password"); auth.CodeOf(err) != auth.LoginFailed {
			t.Errorf("got %v", err)
		}
		// Those of the hash itself, and at most those that a failed check is brought up to.
		for i, now := range costs() {
			if most := [...]int64{1 << 16, 1 << 22, 2_000_000, 2_000_000, 2_000_000, 1_000_000, 1_000_000}[i]; now-before[i] > most {
				t.Errorf("%q costs %d of kind %d, at most %d are allowed", text, now-before[i], i, most)
			}
		}
	})
}

// watcher is a Scheme that reads nothing, and panics at what it should not be asked.
type watcher struct{}

func (watcher) Parse(hash string) (*password.Check, error) {
	if hash != strings.Trim(hash, " \t\r\n\v\f") || len(hash) < 1 || len(hash) > 256 || hash[0] == '!' || strings.HasPrefix(hash, "$pepper$v=1,k=") {
		panic(fmt.Sprintf("a Scheme is asked for %q", hash))
	}
	return nil, nil
}

// FuzzInput: no password makes Hash or Verify panic, and what Hash takes verifies.
func FuzzInput(f *testing.F) {
	for _, pw := range []string{"", "a", "a\x00a", "a\xff", "e\u0301", "\u2460", strings.Repeat("a", 73), strings.Repeat("\u0301", 200), strings.Repeat("\u0958", 600)} {
		f.Add(pw)
	}
	h, err := password.New(cheap)
	if err != nil {
		f.Fatal(err)
	}
	h.Observe(func(uint32, uint32, uint8) []byte { return make([]byte, 32) })
	f.Fuzz(func(t *testing.T, pw string) {
		text, err := h.Hash(t.Context(), pw)
		if err != nil {
			if auth.CodeOf(err) != auth.ValidationFailed {
				t.Errorf("got %v", err)
			}
			return
		}
		if rehash, err := h.Verify(t.Context(), text, pw); err != nil || rehash {
			t.Errorf("got %v, %v", rehash, err)
		}
	})
}
