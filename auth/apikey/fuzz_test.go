package apikey_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth/apikey"
)

var anyKey = regexp.MustCompile(`^[a-z][a-z0-9_]*_([0-9A-Za-z]{17})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})$`)

// FuzzRecognise: nothing but the one spelling of a key is taken for one, and nothing panics.
func FuzzRecognise(f *testing.F) {
	good := apikey.Compose("dwk", strings.Repeat("0", 17), strings.Repeat("z", 43))
	for _, text := range []string{
		good, "", "dwk", "dwk_", good[:len(good)-1], good + "0", strings.ToUpper(good), "x" + good, strings.ReplaceAll(good, "_", "-"),
		apikey.Compose("acme_live", "03gCOZMblnoLVYpdQ", strings.Repeat("A", 43)), "dwk_\x00\xff", strings.Repeat("_", 72),
	} {
		f.Add("dwk", text)
		f.Add("acme_live", text)
	}
	f.Fuzz(func(t *testing.T, prefix, text string) {
		id, ok := apikey.Recognise(prefix, text)
		if !ok {
			if id != "" {
				t.Errorf("refused, with the id %q", id)
			}
			return
		}
		parts := anyKey.FindStringSubmatch("x" + text[len(prefix):])
		if parts == nil || !strings.HasPrefix(text, prefix) || parts[1] != id {
			t.Fatalf("%q is taken for a key with the id %q", text, id)
		}
		if again := apikey.Compose(prefix, id, parts[2]); again != text {
			t.Errorf("%q and %q are the same key", text, again)
		}
	})
}
