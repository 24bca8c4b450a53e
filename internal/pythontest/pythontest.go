// Package pythontest runs pieces of Python with the libraries that users move over from, for tests of interoperability.
//
// It does not own what is compared. Each piece is a process of its own, in a directory of its own.
package pythontest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// packages are Debian's, by what Python imports of them.
const packages = "python3-argon2 python3-bcrypt python3-passlib python3-jwt python3-jose python3-pyotp python3-cryptography " +
	"python3-django python3-werkzeug"

// Every piece has imports. Django and Werkzeug are slow to start, and imported by the pieces that use them.
const (
	imports = "import argon2, bcrypt, passlib.hash, jwt, jose.jwt, pyotp, cryptography.fernet"
	checked = imports + ", django.contrib.auth.hashers, werkzeug.security"
)

// interpreter is a Python that has the libraries. Debian's own comes first: another one in PATH does not see its packages.
var interpreter = sync.OnceValues(func() (string, error) {
	var last error
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		out, err := exec.Command(name, "-c", checked).CombinedOutput()
		if err == nil {
			return name, nil
		}
		last = fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return "", last
})

// Run runs code, in which "given" is in, and reads into out what it puts into "answer". The modules argon2,
// passlib.hash, jwt (PyJWT), jose, pyotp and cryptography.fernet are imported, and Django and Werkzeug can be.
// Without them the test is skipped, or fails when DOORWARD_TEST_SERVERS=required.
func Run(t testing.TB, code string, in, out any) {
	t.Helper()
	python, err := interpreter()
	if err != nil {
		if os.Getenv("DOORWARD_TEST_SERVERS") == "required" {
			t.Fatalf("DOORWARD_TEST_SERVERS=required, and Python's libraries are missing (apt-get install %s): %v", packages, err)
		}
		t.Skipf("needs Python with %s", packages)
	}
	given, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", "import json, sys\n"+imports+"\ngiven = json.load(sys.stdin)\n"+code+"\njson.dump(answer, sys.stdout)\n")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PYTHONWARNINGS=ignore", "PYTHONIOENCODING=utf-8")
	cmd.Stdin = bytes.NewReader(given)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	if err != nil {
		t.Fatalf("Python: %v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("Python answered %.200q: %v", answer, err)
	}
}
