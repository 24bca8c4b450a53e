package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
	"github.com/doorward/doorward/auth/password/policy"
)

func newPolicy(t testing.TB, c policy.Config) *policy.Policy {
	t.Helper()
	p, err := policy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// codes returns the codes of the rules that a password breaks.
func codes(t testing.TB, p *policy.Policy, pw string, about ...string) []string {
	t.Helper()
	err := p.Check(t.Context(), pw, about...)
	if err == nil {
		return nil
	}
	broken, ok := errors.AsType[*policy.Error](err)
	if !ok || len(broken.Rules) == 0 || auth.CodeOf(err) != auth.ValidationFailed {
		t.Fatalf("got %v", err)
	}
	var codes []string
	for _, r := range broken.Rules {
		codes = append(codes, r.Code)
	}
	return codes
}

// want fails when the broken rules are others than these.
func want(t testing.TB, p *policy.Policy, pw string, about []string, expected ...string) {
	t.Helper()
	if got := codes(t, p, pw, about...); !slices.Equal(got, expected) {
		t.Errorf("%.40q: got %q, want %q", pw, got, expected)
	}
}

// mixed is n characters that break no other rule.
func mixed(n int) string { return ("xQ7 vw,zKp-3mTe;Rb4.hYd" + strings.Repeat("oy1Bn!Lu", 40))[:n] }

// STD-P01: 14 code points fail and 15 pass where the password is alone, 7 fail and 8 pass with a second factor; an option goes down to
// 8 and not below.
func TestCheck_STD_P01_Length(t *testing.T) {
	for _, c := range []struct {
		name   string
		config policy.Config
		least  int
	}{
		{"alone", policy.Config{}, 15},
		{"second factor", policy.Config{SecondFactor: true}, 8},
		{"the floor by option", policy.Config{MinLength: 8}, 8},
		{"more by option", policy.Config{MinLength: 20}, 20},
		{"more with a second factor", policy.Config{MinLength: 12, SecondFactor: true}, 12},
		{"the most that may be asked", policy.Config{MinLength: 64}, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPolicy(t, c.config)
			want(t, p, mixed(c.least-1), nil, policy.TooShort)
			want(t, p, mixed(c.least), nil)
			want(t, p, "", nil, policy.TooShort)
		})
	}
	for _, n := range []int{7, 1, -1, 65} {
		if p, err := policy.New(policy.Config{MinLength: n, SecondFactor: true}); err == nil || p != nil || !strings.Contains(err.Error(), "8 to 64") {
			t.Errorf("MinLength %d: got %v", n, err)
		}
	}
}

// STD-P02: length is that of form NFC in code points: no bytes, no UTF-16 units, no marks that join.
func TestCheck_STD_P02_CodePoints(t *testing.T) {
	p := newPolicy(t, policy.Config{})
	letters := []rune("\u00e1\u00e9\u00ed\u00f3\u00fa\u00e0\u00e8\u00ec\u00f2\u00f9\u00e2\u00ea\u00ee\u00f4\u00fb") // 15
	for name, pw := range map[string]string{
		"NFC":      string(letters),
		"NFD":      norm.NFD.String(string(letters)),
		"emoji":    "\U0001f600\U0001f601\U0001f602\U0001f603\U0001f604\U0001f605\U0001f606\U0001f607\U0001f608\U0001f609\U0001f60a\U0001f60b\U0001f60c\U0001f60d\U0001f60e",
		"Hangul":   norm.NFD.String("\ud55c\uad6d\uc5b4\ube44\ubc00\ubc88\ud638\ub294\uae38\uc5b4\uc57c\ud55c\ub2e4\uace0\ud568"),
		"CJK":      "\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u767e\u5343\u4e07\u5104\u5146",
		"no joint": "q\u0320x\u0320k\u0320v\u0320z\u0320j\u0320g\u0320h", // marks that no letter takes up count
	} {
		t.Run(name, func(t *testing.T) {
			want(t, p, pw, nil)
			short := []rune(norm.NFC.String(pw))
			want(t, p, string(short[:14]), nil, policy.TooShort)
			want(t, p, norm.NFD.String(string(short[:14])), nil, policy.TooShort)
		})
	}
}

// STD-P03: 64 and 128 characters, spaces, all printable ASCII and Unicode are welcome.
func TestCheck_STD_P03_Accepted(t *testing.T) {
	p := newPolicy(t, policy.Config{})
	var ascii strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		ascii.WriteByte(c)
	}
	for name, pw := range map[string]string{
		"64":             mixed(64),
		"128":            mixed(128),
		"128 of 4 bytes": strings.Repeat("\U0001f600\U0001f601\U0001f602\U0001f603\U0001f604\U0001f605\U0001f606\U0001f607\U0001f608\U0001f609\U0001f60a\U0001f60b\U0001f60c\U0001f60d\U0001f60e\U0001f60f", 8),
		"passphrase":     "correct horse battery staple",
		"ASCII":          ascii.String(),
		"spaces round":   "  pale kettle drum ",
		"other scripts":  "\u043b\u043e\u0448\u0430\u0434\u044c \u0431\u0430\u0442\u0430\u0440\u0435\u044f \u0441\u043a\u0440\u0435\u043f\u043a\u0430",
		"the longest":    mixed(15) + strings.Repeat("x", password.MaxBytes-15),
	} {
		t.Run(name, func(t *testing.T) { want(t, p, pw, nil) })
	}
}

// STD-P06, ATK-L11: NUL and invalid UTF-8 are no password.
func TestCheck_STD_P06_ATK_L11_Malformed(t *testing.T) {
	p := newPolicy(t, policy.Config{Composition: policy.Composition{Digit: true}})
	for _, pw := range []string{"\x00", mixed(20) + "\x00", "\x00" + mixed(20), mixed(20) + "\xff", mixed(20) + "\xed\xa0\x80", mixed(20) + "\xc0\x80"} {
		want(t, p, pw, nil, policy.Malformed)
	}
}

// ATK-L09: what is far too long is refused before anything is done with it: no form, no list, no service.
func TestCheck_ATK_L09_TooLong(t *testing.T) {
	asked := 0
	p := newPolicy(t, policy.Config{Breached: []policy.Source{source(func(string) (bool, error) { asked++; return false, nil })}})
	for name, pw := range map[string]string{
		"1 MiB":                 strings.Repeat("\u0958", 1<<20/3),
		"4,096 code points":     strings.Repeat("a", 4096),
		"one byte over":         strings.Repeat("x", password.MaxBytes+1),
		"over in NFC":           strings.Repeat("\u0958", 600), // 1,800 bytes, 3,600 in NFC
		"a sea of marks":        "a" + strings.Repeat("\u0301", 1<<19),
		"1 MiB of invalid text": strings.Repeat("\xff", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			want(t, p, pw, nil, policy.TooLong)
			if n := testing.AllocsPerRun(5, func() { _ = p.Check(t.Context(), pw) }); n > 20 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	if asked != 0 {
		t.Errorf("the service was asked %d times", asked)
	}
}

// A hasher that makes bcrypt takes 72 bytes: with MaxBytes the policy says so first, by a rule of its own.
func TestCheck_MaxBytes(t *testing.T) {
	p := newPolicy(t, policy.Config{MaxBytes: 72})
	want(t, p, mixed(72), nil)
	want(t, p, mixed(73), nil, policy.TooLong)
	want(t, p, mixed(70)+"e\u0301", nil) // 73 bytes, 72 in NFC
	want(t, p, mixed(71)+"\u00e9", nil, policy.TooLong)
}

// STD-P07: a listed password is refused as a whole, in any letter case, with the reason; that one is in it is none.
func TestCheck_STD_P07_Common(t *testing.T) {
	p := newPolicy(t, policy.Config{MinLength: 8})
	for _, pw := range []string{"password", "PASSWORD", "PassWord", "iloveyou", "baseball", "sunshine", "trustno1", "elizabeth", "Washington", "kangaroo", "\uff50assword", "pa\u017f\u017fword"} {
		want(t, p, pw, nil, policy.Common)
	}
	for _, pw := range []string{"passwordx", "xpassword", "pass word", "my password is long", "password-and-more", "sunshine kangaroo", "kangaroo7", "passw\u00f6rd"} {
		want(t, p, pw, nil)
	}
	long := newPolicy(t, policy.Config{})
	for _, pw := range []string{"films+pic+galeries", "Uncharacteristically", "psychologically", "UNCONSTITUTIONAL"} {
		want(t, long, pw, nil, policy.Common)
	}
}

// ASVS 5.0 V6.2.4: there are more than 3,000 entries that match the policy with the lowest floor.
func TestCommon_Size(t *testing.T) {
	if n := newPolicy(t, policy.Config{}).Listed(); n < 25_000 {
		t.Errorf("%d entries", n)
	}
}

// Long passwords that are none: one short part over and over, or along a row of the keyboard.
func TestCheck_Pattern(t *testing.T) {
	p := newPolicy(t, policy.Config{})
	for _, pw := range []string{
		"passwordpassword", "PasswordPassword", "aaaaaaaaaaaaaaa", "abcabcabcabcabcabca", "1212121212121212", "correct correct ",
		"123456789012345", "0987654321098765", "abcdefghijklmno", "zyxwvutsrqponmlk", "qwertyuiopasdfgh", "QWERTYUIOPASDFGH", "1234567890qwertyuiop", "mnbvcxzlkjhgfdsa", "qwertzuiopasdfghjkl", "azertyuiopqsdfg",
		"\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600\U0001f600",
	} {
		want(t, p, pw, nil, policy.Pattern)
	}
	for _, pw := range []string{"passwordpasswort", "qwertyuiopasdfgx", mixed(15) + mixed(15), "1234567890 kettles", "correct horse correct"} {
		want(t, p, pw, nil)
	}
	floor := newPolicy(t, policy.Config{MinLength: 8})
	want(t, floor, "12345678", nil, policy.Common, policy.Pattern)
	want(t, floor, "asdfghjk", nil, policy.Common, policy.Pattern)
	want(t, floor, "1234", nil, policy.TooShort)
}

// Context words, of the application and of the user: a password that is made of them is refused in any letter case; that one
// is in it is no reason (STD-P07).
func TestCheck_STD_P07_Context(t *testing.T) {
	p := newPolicy(t, policy.Config{Words: []string{"Doorward", "Example GmbH"}})
	about := []string{"Ann-Marie O\u2019Neill-Smith", "ann.smith.1985@mail.example.org", "4711", "\u674e\u660e"}
	for _, pw := range []string{
		"ann.smith.1985@mail.example.org", "AnnSmithAnnSmith", "Smith-Ann-19850412", "doorward 2026 !!", "DoorwardDoorward2", "example-doorward", "smith1985smith85", "annmarieoneill__", "ANN MARIE O'NEILL",
		"x-doorward-2026!", "\uff24oorward-2026!!!", "\u674e\u660e1985\u674e\u660e2026!!!",
	} {
		if got := codes(t, p, pw, about...); !slices.Contains(got, policy.Context) {
			t.Errorf("%q: got %q", pw, got)
		}
	}
	for _, pw := range []string{
		"ann likes kettles", "doorward-kangaroo", "mannequin parade", "4711 8302 9917 2263 51", "smith 830299172 !", "an unrelated text", "example of a storm",
	} {
		want(t, p, pw, about)
	}
	want(t, p, "ann likes kettles", nil)
	want(t, p, "Smith-Bob-19850412", nil) // nobody's name here
	// A name of any length and number of words is looked at in part, at bounded cost.
	want(t, p, mixed(40), []string{strings.Repeat("ann ", 1<<20), strings.Repeat("\xff", 300), "", "-", "a"})
	want(t, p, "Smith-1985-smith", []string{strings.Repeat("x ", 128) + "Smith"})
	eight := newPolicy(t, policy.Config{MinLength: 8})
	want(t, eight, "mannequins", []string{"Ann"}, policy.Common)
	want(t, eight, "mannequit", []string{"Ann"})
}

// STD-P08: by default nothing is said about classes of characters; by an option they are demanded one by one.
func TestCheck_STD_P08_Composition(t *testing.T) {
	p := newPolicy(t, policy.Config{})
	for _, pw := range []string{"pale kettle drum", "PALEKETTLEDRUMS", "830299172263518", "                    x,.-", "\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u767e\u5343\u4e07\u5104\u5146"} {
		want(t, p, pw, nil)
	}
	all := newPolicy(t, policy.Config{Composition: policy.Composition{Lower: true, Upper: true, Digit: true, Symbol: true}})
	want(t, all, "Pale kettle 7 drums", nil)
	want(t, all, "palekettledrumsx", nil, policy.UpperMissing, policy.DigitMissing, policy.SymbolMissing)
	want(t, all, "PALE KETTLE 7 DRUMS", nil, policy.LowerMissing)
	want(t, all, "Paleketttle7drums", nil, policy.SymbolMissing)
	want(t, all, "\u00c4hre und \u0667 \u00e4hnliches", nil) // letters and digits of any script
	want(t, all, "abc", nil, policy.TooShort, policy.UpperMissing, policy.DigitMissing, policy.SymbolMissing)
}

// STD-P08: rotation, hints and secret questions cannot be set at all. Whoever adds a field to Config decides here, with that line
// before the eyes, that it is none of these.
func TestConfig_STD_P08_NothingElse(t *testing.T) {
	var got []string
	for f := range reflect.TypeFor[policy.Config]().Fields() {
		got = append(got, f.Name)
	}
	if known := []string{"MinLength", "SecondFactor", "MaxBytes", "Words", "Composition", "Breached", "IgnoreOutage", "Observe", "Field"}; !slices.Equal(got, known) {
		t.Errorf("Config has %q", got)
	}
}

// All rules that fail are told at once, each with its code and a sentence, and as fields of a 422.
func TestError_ListsAll(t *testing.T) {
	p := newPolicy(t, policy.Config{Words: []string{"doorward"}, Composition: policy.Composition{Upper: true}, Field: "new_password",
		Breached: []policy.Source{source(func(string) (bool, error) { return true, nil })}})
	const pw = "doorward"
	err := p.Check(t.Context(), pw)
	broken, _ := errors.AsType[*policy.Error](err)
	if broken == nil {
		t.Fatalf("got %v", err)
	}
	expected := []string{policy.TooShort, policy.Context, policy.UpperMissing, policy.Breached}
	if got := codes(t, p, pw); !slices.Equal(got, expected) {
		t.Errorf("got %q, want %q", got, expected)
	}
	if strings.Contains(err.Error(), pw) || !strings.Contains(err.Error(), policy.Breached) {
		t.Errorf("got %v", err)
	}
	rec := httptest.NewRecorder()
	auth.WriteProblem(rec, err)
	var body struct {
		Code   string
		Fields map[string]string
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || rec.Code != 422 || body.Code != "validation_failed" || len(body.Fields) != 4 {
		t.Errorf("got %d, %s, %v", rec.Code, rec.Body, err)
	}
	for _, r := range broken.Rules {
		if text := body.Fields["new_password."+r.Code]; text != r.Text || len(text) < 20 || !strings.HasSuffix(text, ".") {
			t.Errorf("%s: got %q", r.Code, text)
		}
	}
}

// The requirements for a form are what Check holds a password to, in the same words.
func TestRequirements(t *testing.T) {
	of := func(c policy.Config) (codes []string) {
		for _, r := range newPolicy(t, c).Requirements() {
			if len(r.Text) < 20 {
				t.Errorf("%s: %q", r.Code, r.Text)
			}
			codes = append(codes, r.Code)
		}
		return codes
	}
	if got := of(policy.Config{}); !slices.Equal(got, []string{policy.TooShort, policy.Common, policy.Pattern, policy.Context, policy.TooLong}) {
		t.Errorf("got %q", got)
	}
	all := policy.Config{Composition: policy.Composition{Lower: true, Upper: true, Digit: true, Symbol: true}, Breached: []policy.Source{source(nil)}}
	if got := of(all); len(got) != 10 {
		t.Errorf("got %q", got)
	}
	if text := newPolicy(t, policy.Config{MinLength: 9}).Requirements()[0].Text; !strings.Contains(text, "at least 9 characters") {
		t.Errorf("got %q", text)
	}
}

// What Generate makes keeps the policy, whatever that demands, and never comes twice.
func TestGenerate(t *testing.T) {
	for _, c := range []policy.Config{
		{}, {MinLength: 8}, {MinLength: 24}, {MinLength: 64, MaxBytes: 72}, {SecondFactor: true},
		{Composition: policy.Composition{Lower: true, Upper: true, Digit: true, Symbol: true}, Words: []string{"abc", "xyz"}},
	} {
		p := newPolicy(t, c)
		seen := map[string]bool{}
		letters := map[rune]int{}
		for range 2000 {
			pw, err := p.Generate(0)
			if err != nil {
				t.Fatal(err)
			}
			want(t, p, pw, nil)
			if n := utf8.RuneCountInString(pw); n < 23 || n > 72 || seen[pw] {
				t.Fatalf("%+v: got %q, seen before: %v", c, pw, seen[pw])
			}
			seen[pw] = true
			for _, r := range pw {
				letters[r]++
			}
		}
		if len(letters) != 57 || strings.ContainsAny(string(slices.Collect(keys(letters))), "lIO01o") {
			t.Errorf("%+v: %d different characters", c, len(letters))
		}
		for r, n := range letters { // 2,000 x 20 in 56 are 714 each
			if r != '-' && (n < 500 || n > 3500) {
				t.Errorf("%+v: %q came %d times", c, r, n)
			}
		}
	}
}

// D-67: a password has the length that was asked for and keeps the rules. A length that the policy refuses is an error
// which says what is expected, and not a password that Check refuses.
func TestGenerate_D_67_Length(t *testing.T) {
	all := policy.Composition{Lower: true, Upper: true, Digit: true, Symbol: true}
	for _, c := range []struct {
		config      policy.Config
		least, most int
	}{
		{policy.Config{MinLength: 8, Composition: all}, 8, password.MaxBytes},
		{policy.Config{SecondFactor: true}, 8, password.MaxBytes},
		{policy.Config{}, 15, password.MaxBytes},
		{policy.Config{MinLength: 64, MaxBytes: 72, Composition: all}, 64, 72},
	} {
		p := newPolicy(t, c.config)
		lengths := []int{c.least, c.least + 1, c.most - 1, c.most}
		for n := max(c.least, 8); n <= min(30, c.most); n++ { // 12, 18 and 24 would end with a hyphen
			lengths = append(lengths, n)
		}
		for _, n := range lengths {
			for range 20 {
				pw, err := p.Generate(n)
				if err != nil || len(pw) != n || strings.HasSuffix(pw, "-") || strings.Count(pw, "-") > n/6 {
					t.Fatalf("%d: got %q, %v", n, pw, err)
				}
				want(t, p, pw, nil)
			}
		}
		for _, n := range []int{c.least - 1, 1, -1, c.most + 1, 1 << 40} {
			pw, err := p.Generate(n)
			expected := fmt.Sprintf("got a length of %d, expected 0 (the default) or %d to %d", n, c.least, c.most)
			if err == nil || pw != "" || !strings.Contains(err.Error(), expected) {
				t.Errorf("%d: got %q, %v, expected %q", n, pw, err, expected)
			}
		}
	}
}

func keys(m map[rune]int) func(yield func(rune) bool) {
	return func(yield func(rune) bool) {
		for r := range m {
			if !yield(r) {
				return
			}
		}
	}
}

// FuzzCheck: no password and no name makes Check panic, and what it accepts can be hashed as far as its form goes.
func FuzzCheck(f *testing.F) {
	for _, pw := range []string{"", "password", "correct horse battery staple", "a\x00", "\xff", strings.Repeat("\u0301", 300), strings.Repeat("\ufdfa", 100), "12345678", "\u674e\u660e1985", "ann.smith@example.org"} {
		f.Add(pw, "Ann Smith", "ann.smith@example.org")
		f.Add(pw, pw, "")
	}
	p := newPolicy(f, policy.Config{MinLength: 8, Words: []string{"doorward"}})
	f.Fuzz(func(t *testing.T, pw, name, mail string) {
		err := p.Check(t.Context(), pw, name, mail)
		if err != nil {
			if auth.CodeOf(err) != auth.ValidationFailed {
				t.Errorf("got %v", err)
			}
			return
		}
		text := norm.NFC.String(pw)
		if !utf8.ValidString(pw) || strings.ContainsRune(pw, 0) || len(pw) > password.MaxBytes || len(text) > password.MaxBytes || utf8.RuneCountInString(text) < 8 {
			t.Errorf("%q is accepted", pw)
		}
		if other := strings.ToUpper(pw); utf8.RuneCountInString(pw) == len(pw) && p.Check(t.Context(), other, name, mail) != nil {
			t.Errorf("%q is accepted and %q is not", pw, other)
		}
	})
}
