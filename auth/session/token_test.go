package session_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/tokens"
)

func TestTokenForm(t *testing.T) {
	w := setup(t)
	pair := w.login(ann(1))
	parts := strings.Split(pair.Refresh, ".")
	if len(parts) != 4 || parts[0] != "dwr1" {
		t.Fatalf("got %q", pair.Refresh)
	}
	o, id, generation, err := w.Open(pair.Refresh)
	if err != nil || o != (auth.Owner{Issuer: issuer, Subject: "ann"}) || id != pair.Session || generation != 1 {
		t.Errorf("got %v %s %d, %v", o, id, generation, err)
	}
	again, err := w.Seal("", "ann", pair.Session, 1)
	if err != nil || again != pair.Refresh {
		t.Errorf("another node makes %q, %v", again, err)
	}
	seen := map[string]string{}
	for _, c := range []struct{ subject, id string }{{"a", "bc"}, {"ab", "c"}, {"", "abc"}, {"a.", "bc"}, {"a", ".bc"}} {
		raw, _ := w.Seal("", c.subject, c.id, 1)
		if before, twice := seen[raw]; twice {
			t.Errorf("%v has the token of %s", c, before)
		}
		seen[raw] = fmt.Sprint(c)
	}
}

// garbage is what no node must take, each with the reason.
func garbage(w *world, good string) map[string]string {
	parts := strings.Split(good, ".")
	join := func(p ...string) string { return strings.Join(p, ".") }
	text := func(s string) string { return string(append(binary.AppendUvarint(nil, uint64(len(s))), s...)) }
	id := strings.Repeat("A", 41)
	all := map[string]string{
		"empty": "", "prefix alone": "dwr1.", "two parts": join(parts[:2]...), "three parts": join(parts[:3]...),
		"no key id": join("dwr1", "", parts[2], parts[3]), "no body": join("dwr1", parts[1], "", parts[3]), "no mac": join("dwr1", parts[1], parts[2], ""),
		"another prefix": "dwr2" + good[4:], "upper case": "DWR1" + good[4:], "a space": " " + good, "a line break behind": good + "\n",
		"a line break in the mac": good[:len(good)-5] + "\n" + good[len(good)-5:], "a line break in the body": join("dwr1", parts[1], parts[2][:4]+"\n"+parts[2][4:], parts[3]),
		"padding": good + "=", "a part more": good + ".x", "the mac cut": good[:len(good)-1], "1 MiB": good + strings.Repeat("A", 1<<20), "just too long": "dwr1." + parts[1] + "." + strings.Repeat("A", 1<<10),
		"other bits at the end of the mac": respell(good), "standard alphabet": join(parts[0], parts[1], parts[2], strings.NewReplacer("-", "+", "_", "/").Replace(parts[3])+"+"),
		"a body of another's": join("dwr1", parts[1], base64.RawURLEncoding.EncodeToString([]byte(text("bob")+text(id)+"\x01")), parts[3]),
		// Authentic, for what it is worth: a key may serve another format one day.
		"mac: another prefix":         w.SealText(join("dwr2", parts[1], parts[2])),
		"mac: no key id":              w.SealText(join("dwr1", "", parts[2])),
		"mac: over 1 KiB":             w.SealBody([]byte(text(strings.Repeat("x", 1<<10)) + text(id) + "\x01")),
		"mac: empty body":             w.SealBody(nil),
		"mac: a text longer than all": w.SealBody([]byte("\x04acme\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
		"mac: a length without end":   w.SealBody([]byte(strings.Repeat("\xff", 30))),
		"mac: no generation":          w.SealBody([]byte(text("ann") + text(id))),
		"mac: generation 0":           w.SealBody([]byte(text("ann") + text(id) + "\x00")),
		"mac: generation 2^53-1":      w.SealBody(append([]byte(text("ann")+text(id)), binary.AppendUvarint(nil, 1<<53-1)...)),
		"mac: generation 2^64-1":      w.SealBody(append([]byte(text("ann")+text(id)), binary.AppendUvarint(nil, 1<<64-1)...)),
		"mac: something behind":       w.SealBody([]byte(text("ann") + text(id) + "\x01\x00")),
		"mac: no subject":             w.SealBody([]byte(text("") + text(id) + "\x01")),
		"mac: an id of another form":  w.SealBody([]byte(text("ann") + text("../../x") + "\x01")),
	}
	return all
}

// respell changes the two bits of the last character that a lax decoder ignores.
func respell(good string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	return good[:len(good)-1] + string(alphabet[last^1])
}

// Garbage costs no I/O: neither the store nor the users table is asked.
func TestGarbageCostsNoIO(t *testing.T) {
	w := setup(t)
	good := w.login(ann(1)).Refresh
	asked, loads := w.store.asked.Load(), w.users.loads
	check := func(name, raw string, codes ...auth.Code) {
		t.Helper()
		for call, f := range map[string]func() error{
			"Refresh":       func() error { _, err := w.Refresh(ctx, raw, phone); return err },
			"RefreshCookie": func() error { _, err := w.RefreshCookie(ctx, raw, phone); return err },
			"Lend":          func() error { _, err := w.Lend(ctx, raw, phone); return err },
			"Logout":        func() error { return w.Logout(ctx, raw) },
		} {
			err := f()
			fine := false
			for _, code := range codes {
				fine = fine || err != nil && auth.CodeOf(err) == code
			}
			if !fine {
				t.Errorf("%s at %s: got %v, expected %v", name, call, err, codes)
			}
		}
	}
	for name, raw := range garbage(w, good) {
		check(name, raw, auth.TokenInvalid)
	}
	for i := range len(good) { // every byte of it counts
		for _, b := range []byte{good[i] ^ 1, good[i] ^ 0x20, '.', 0} {
			if b != good[i] {
				check(fmt.Sprintf("byte %d as %q", i, b), good[:i]+string([]byte{b})+good[i+1:], auth.TokenInvalid, auth.TokenExpired)
			}
		}
	}
	if a, l := w.store.asked.Load()-asked, w.users.loads-loads; a > 0 || l > 0 {
		t.Errorf("garbage asked the store %d times and loaded subjects %d times", a, l)
	}
	w.refresh(good)
}

// STD-S12: from everything that the store holds no refresh token can be made.
func TestSTD_S12_NoTokenMaterial(t *testing.T) {
	w := setup(t)
	pair := w.refresh(w.login(ann(1)).Refresh)
	rows, err := w.memory.List(ctx, auth.Owner{Issuer: issuer, Subject: "ann"})
	ok(t, err)
	content := fmt.Sprintf("%+v %#v", rows, rows)
	parts := strings.Split(pair.Refresh, ".")
	for name, part := range map[string]string{"the token": pair.Refresh, "its MAC": parts[3], "its body": parts[2], "the access token": pair.Access} {
		if strings.Contains(content, part) {
			t.Errorf("the store holds %s", name)
		}
	}
	// Whoever knows every field but not the key makes another MAC; so does whoever has only another issuer's key, or that of another use.
	thief := w.other(tokens.NewKeyring(tokens.FromSecret(secret2)))
	forged, err := thief.Seal("", rows[0].Subject, rows[0].ID, rows[0].Generation)
	ok(t, err)
	forged = strings.Join([]string{"dwr1", parts[1], strings.Split(forged, ".")[2], strings.Split(forged, ".")[3]}, ".")
	w.refused(forged, auth.TokenInvalid)
	w.refresh(pair.Refresh)
}

// Another issuer with the same secret, such as staging, has other keys.
func TestIssuersHaveTheirOwnKeys(t *testing.T) {
	w := setup(t)
	tok, err := tokens.New(tokens.Config{Keys: w.keys, Issuer: "https://staging.example.com", Audience: "api", List: w.memory.Revocations()})
	ok(t, err)
	staging, err := session.New(session.Config{Store: w.store, Tokens: tok, Subjects: w.users})
	ok(t, err)
	pair, err := staging.Start(ctx, session.Login{Principal: ann(1), Client: phone})
	ok(t, err)
	w.refused(pair.Refresh, auth.TokenInvalid)
}

// An application that derives keys of its own, by whatever name, forges no refresh token.
func TestATK_J21_ApplicationsKeysForgeNothing(t *testing.T) {
	w := setup(t)
	good := w.login(ann(1)).Refresh
	left := good[:strings.LastIndexByte(good, '.')]
	for _, label := range []string{"refresh", "doorward refresh", "doorward/refresh", "app/refresh"} {
		_, key, err := w.keys.Derive("", issuer, label)
		ok(t, err)
		m := hmac.New(sha256.New, key)
		m.Write([]byte(left))
		w.refused(left+"."+base64.RawURLEncoding.EncodeToString(m.Sum(nil)), auth.TokenInvalid)
	}
	w.refresh(good)
}

// PROTOCOLS 1 and 5: a key is changed while sessions live, node by node, and nobody is logged out.
func TestKeyRotation(t *testing.T) {
	w := setup(t)
	oldKey, newKey := tokens.FromSecret(secret), tokens.FromSecret(secret2)
	behind, ahead := w.other(tokens.NewKeyring(oldKey)), w.other(tokens.NewKeyring(newKey, oldKey))
	parent := w.login(ann(1))

	// The node ahead makes the child. The one behind knows neither its key, nor can it make the same text.
	child := ahead.refresh(parent.Refresh)
	behind.told()
	for _, raw := range []string{child.Refresh, parent.Refresh} {
		_, err := behind.Refresh(ctx, raw, phone)
		if auth.CodeOf(err) != auth.TokenExpired || session.Ended(err) {
			t.Errorf("the node behind: got %v", err)
		}
	}
	if err := behind.Logout(ctx, child.Refresh); err == nil || session.Ended(err) {
		t.Errorf("Logout at the node behind: got %v", err)
	}
	ahead.accepted(child) // nothing ended
	// Once it accepts the key, racers at both get one child, under the row's key whatever is current.
	ok(t, behind.keys.Replace(oldKey, newKey))
	if again := behind.refresh(parent.Refresh); again.Refresh != child.Refresh {
		t.Error("the nodes make two children of one token")
	}
	next := behind.refresh(child.Refresh)
	if again := ahead.refresh(child.Refresh); again.Refresh != next.Refresh {
		t.Error("the nodes make two children of one token")
	}
	// A removed key acts at once: whoever has it forges nothing any more.
	stolen := next.Refresh
	ok(t, ahead.keys.Replace(newKey))
	ahead.refused(stolen, auth.TokenExpired)
}

func FuzzRefresh(f *testing.F) {
	w := setup(f)
	raw, err := w.Seal("", "ann", strings.Repeat("A", 41), 7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for _, g := range garbage(w, raw) {
		if len(g) < 4096 {
			f.Add(g)
		}
	}
	f.Fuzz(func(t *testing.T, shown string) {
		o, id, generation, err := w.Open(shown)
		if err != nil {
			if code := auth.CodeOf(err); code != auth.TokenInvalid && code != auth.TokenExpired {
				t.Fatalf("%q: got %v", shown, err)
			}
			return
		}
		again, err := w.Seal("", o.Subject, id, generation)
		if err != nil || again != shown {
			t.Fatalf("%q has another spelling: %q, %v", shown, again, err)
		}
	})
}

// FuzzBody takes what the MAC stands before as read.
func FuzzBody(f *testing.F) {
	w := setup(f)
	f.Add([]byte("\x04acme\x03ann\x1aAAAAAAAAAAAAAAAAAAAAAAAAAA\x01"))
	f.Add([]byte("\x84\x00acme\x03ann\x1aAAAAAAAAAAAAAAAAAAAAAAAAAA\x81\x00"))
	f.Add([]byte(strings.Repeat("\xff", 40)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		o, id, generation, err := w.Open(w.SealBody(body))
		if err != nil {
			if auth.CodeOf(err) != auth.TokenInvalid {
				t.Fatalf("%q: got %v", body, err)
			}
			return
		}
		if len(id) != 26 || o.Subject == "" || o.Issuer != issuer || generation < 1 || generation >= 1<<53-1 {
			t.Fatalf("%q is taken as %v %q %d", body, o, id, generation)
		}
	})
}
