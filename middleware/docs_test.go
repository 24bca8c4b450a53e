package middleware_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocs holds docs/middleware.md to the truth: each piece of Go in it stands, line by line, in an Example that
// is compiled and run.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/middleware.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("example*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source []byte
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("only %d pieces of Go", len(blocks))
	}
	examples := unindent(string(source))
	for _, block := range blocks {
		code, _, closed := strings.Cut(block, "```")
		if !closed || !strings.Contains(examples, unindent(code)) {
			t.Errorf("no Example contains:\n%s", code)
		}
	}
}

// unindent drops what leads and trails in each line.
func unindent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}
