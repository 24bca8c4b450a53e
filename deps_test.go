// The tests of the repository as a whole: who imports what, and whether the documents compile.
package doorward_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/doorward/doorward"

// anything is for programs, which nobody imports.
const anything = "anything"

// mayImport says what the code of each package may import beside the standard library: packages of ours
// by their path below the module's, others by the path of their module. Tests may import what they like.
//
// A package that is not here fails the test, so that each new one is a decision; so does a row without a
// package. Database drivers stand in no row but example's: a user who brings none links none.
var mayImport = map[string][]string{
	"auth":                      {},
	"auth/session":              {"auth", "tokens", "revocation", "internal/derive", "internal/sample", "github.com/mileusna/useragent"},
	"auth/session/redissession": {"auth", "auth/session", "revocation", "revocation/redisrev", "github.com/redis/go-redis/v9"},
	"auth/sessionhttp":          {"auth", "auth/session", "cookies", "middleware", "ratelimit", "github.com/go-json-experiment/json"},
	"auth/storetest":            {"auth", "auth/session", "auth/apikey", "auth/onetime", "auth/totp", "middleware"},
	"auth/apikey":               {"auth", "internal/sample"},
	"auth/apikey/redisapikey":   {"auth", "auth/apikey", "internal/redisguard", "github.com/redis/go-redis/v9"},
	"auth/onetime":              {"auth", "middleware", "tokens", "internal/derive"},
	"auth/onetime/redisonetime": {"auth", "auth/onetime", "internal/redisguard", "github.com/redis/go-redis/v9"},
	"auth/password":             {"auth", "internal/derive", "golang.org/x/crypto", "golang.org/x/text"},
	"auth/totp":                 {"auth", "github.com/pquerna/otp", "github.com/boombuler/barcode"},
	"auth/totp/redistotp":       {"auth", "internal/redisguard", "github.com/redis/go-redis/v9"},
	"auth/password/policy":      {"auth", "auth/password", "github.com/ccojocar/zxcvbn-go", "golang.org/x/text"},
	"auth/seal":                 {"auth", "internal/derive", "golang.org/x/crypto"},
	"cookies":                   {"auth", "internal/derive"},
	"tokens":                    {"auth", "internal/derive", "github.com/golang-jwt/jwt/v5", "github.com/go-json-experiment/json", "github.com/maypok86/otter/v2"},
	"revocation":                {"auth", "internal/shorthash"}, // the list's names, without go-redis
	"revocation/redisrev":       {"auth", "revocation", "internal/redisguard", "github.com/redis/go-redis/v9"},
	"ratelimit":                 {"auth"},
	"ratelimit/redislimit":      {"auth", "ratelimit", "internal/redisguard", "github.com/redis/go-redis/v9"},
	"internal/derive":           {}, // each use of a secret, in one place; internal, so that no application asks for one
	"internal/sample":           {}, // how often strangers' doings are told of, with the same bounds everywhere
	"internal/redisguard":       {"internal/shorthash", "github.com/redis/go-redis/v9"},
	"internal/shorthash":        {},
	"middleware":                {"auth", "cookies", "ratelimit", "internal/derive", "internal/sample", "github.com/go-json-experiment/json", "golang.org/x/text"},
	"example":                   {anything},
}

// smallProgram is all of ours that a program with one guarded route links.
var smallProgram = []string{"auth", "tokens", "middleware", "cookies", "ratelimit", "internal/derive", "internal/sample"}

// TestImports holds every package to its row. A package under internal without one serves tests: it may
// import what those need, and is imported by nothing else.
func TestImports(t *testing.T) {
	moduleOf := map[string]string{} // import path to module, for packages that are neither ours nor the standard library's
	ours := map[string]listed{}
	for _, p := range golist(t, "-deps", "./...") {
		if path, own := below(p.ImportPath); own {
			ours[path] = p
		} else if p.Module != nil {
			moduleOf[p.ImportPath] = p.Module.Path
		}
	}
	for path, p := range ours {
		allowed, known := mayImport[path]
		internal := strings.HasPrefix(path, "internal/") && !known
		switch {
		case path == "":
			if len(p.GoFiles) > 0 {
				t.Errorf("the module's root has code in %v: there is no package that knows everything", p.GoFiles)
			}
			continue
		case !known && !internal:
			t.Errorf("package %s is not in mayImport: say there what it may import", path)
			continue
		}
		for _, imported := range p.Imports {
			name, own := below(imported)
			if !own {
				if name = moduleOf[imported]; name == "" {
					continue // the standard library
				}
			}
			switch {
			case own && strings.HasPrefix(name, "internal/") && mayImport[name] == nil && !internal:
				t.Errorf("%s imports %s, which is for tests", path, name)
			case !internal && !slices.Contains(allowed, name) && !slices.Contains(allowed, anything):
				t.Errorf("%s imports %s: it may import %q", path, imported, allowed)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(mayImport)) {
		if _, ok := ours[path]; !ok {
			t.Errorf("mayImport has a row for %s, which does not exist", path)
		}
	}
}

// TestSmallProgramLinksLittle holds what every user links to the five packages that the README names, and the list of
// uses of a secret that they share.
func TestSmallProgramLinksLittle(t *testing.T) {
	linksLittle(t, "./middleware", "./tokens")
}

// linksLittle fails for each package of ours in the program or packages that args name which is not in smallProgram.
func linksLittle(t *testing.T, args ...string) {
	t.Helper()
	var linked []string
	for _, p := range golist(t, append([]string{"-deps"}, args...)...) {
		if path, own := below(p.ImportPath); own && p.Name != "main" {
			linked = append(linked, path)
			if !slices.Contains(smallProgram, path) {
				t.Errorf("%v links %s", args, path)
			}
		}
	}
	t.Logf("%v links, of ours: %v", args, linked)
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath, Name string
	GoFiles, Imports []string
	Module           *struct{ Path string }
}

func golist(t *testing.T, args ...string) (packages []listed) {
	t.Helper()
	out := gocommand(t, append([]string{"list", "-json=ImportPath,Name,GoFiles,Imports,Module"}, args...)...)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// gocommand runs the go command in the module's root, where go test runs this package.
func gocommand(t *testing.T, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// below returns the path below the module's, and whether the package is ours.
func below(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module)
	if !ok || rest != "" && rest[0] != '/' {
		return path, false
	}
	return strings.TrimPrefix(rest, "/"), true
}
