//go:build linux && !race

package promise_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Rules of the kit's own code, and what stands in their place in the copy that the compiler is given instead. What is shipped
// has no such switch.
var flaws = []struct{ file, rule, instead string }{
	{"revocation/replica.go", "return now.Sub(v.from) < Lease", `return flawed == "lease" || now.Sub(v.from) < Lease`},
	{"revocation/redisrev/redisrev.go", "if epoch != p.Epoch {", `if epoch != p.Epoch && flawed != "epoch" {`},
	{"revocation/redisrev/confirm.go", "!revocation.Waits(ctx) {", `!revocation.Waits(ctx) || flawed == "wait" {`},
	{"revocation/redisrev/scripts.go", "const step = common + begin + `", "var step = common + begin + map[bool]string{true: `local hasty = true`}[flawed == \"listed\"] + `"},
	{"revocation/redisrev/scripts.go", "\t\ttop()\n\t\treturn\n", "\t\tif hasty then last = '0-0' else top() end\n\t\treturn\n"},
	{"revocation/redisrev/confirm.go", "{ return outlast + l.maxLag }", `{ if flawed == "settle" { return 0 }; return outlast + l.maxLag }`},
}

// TestPromise_SeesFlaws has nodes break a rule: a test that cannot see that would prove nothing.
func TestPromise_SeesFlaws(t *testing.T) {
	t.Parallel()
	program := buildFlawed(t)
	for _, test := range []struct{ name, list, flaw, fault string }{
		{"a cache before the list", cached, "", "Redis is flushed"},
		{"a lease that does not run out, and a paused node", replica, "lease", "a node is paused for longer than its lease"},
		{"a lease that does not run out, and a node without network", replica, "lease", "a node is cut off from Redis"},
		{"a call that does not wait for other nodes", replica, "wait", "a node joins, another one leaves"},
		{"a call that finds its entry on the list and does not wait", replica, "listed", "a node is cut off from Redis"},
		{"a call that does not wait for leases of an old epoch", replica, "settle", "Redis is flushed while a node is cut off"},
		{"an epoch that is not compared", direct, "epoch", "Redis is flushed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := one(t, program, test.flaw, test.list, test.list, test.list)
			r.progress(100)
			faults := slices.Concat(ofNodes, ofRedis)
			i := slices.IndexFunc(faults, func(f fault) bool { return f.name == test.fault })
			for tries := 0; r.suspects.Load() == 0 && tries < 5; tries++ {
				r.happen(faults[i])
			}
			report := r.judge()
			if len(report.Violations) == 0 {
				t.Fatal("no violation was seen")
			}
			t.Logf("for example: %.400s", report.Violations[0])
		})
	}
}

// buildFlawed builds the program of nodes with all flaws in it, asleep.
func buildFlawed(t *testing.T) (program string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copies := map[string]string{} // text by file
	for _, f := range flaws {
		file := filepath.Join(root, filepath.FromSlash(f.file))
		if copies[file] == "" {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			copies[file] = string(text)
		}
		if n := strings.Count(copies[file], f.rule); n != 1 {
			t.Fatalf("%s has %q %d times, expected once", f.file, f.rule, n)
		}
		copies[file] = strings.Replace(copies[file], f.rule, f.instead, 1)
		pkg := filepath.Dir(file)
		copies[filepath.Join(pkg, "flawed.go")] = "package " + filepath.Base(pkg) + "\nimport \"os\"\nvar flawed = os.Getenv(\"" + flawed + "\")\n"
	}
	replace := map[string]string{}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for file, text := range copies {
		replace[file] = write(filepath.Base(filepath.Dir(file))+"_"+filepath.Base(file), text)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "node")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", write("overlay.json", string(overlay)), "-o", program, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	return program
}
