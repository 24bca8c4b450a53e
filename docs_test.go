package doorward_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A snippet is a ```go block of a document.
type snippet struct {
	where string // file and line
	text  string
}

// program says whether the snippet is a whole file.
func (s snippet) program() bool {
	return strings.HasPrefix(s.text, "package ") || strings.Contains(s.text, "\npackage ")
}

// TestDocumentsCompile builds every whole program of the documents, and finds every other piece of Go in
// them in a file of the repository, line by line but for the indentation, so that it compiles as well.
func TestDocumentsCompile(t *testing.T) {
	sources := goFiles(t)
	for _, s := range snippets(t) {
		t.Run(s.where, func(t *testing.T) {
			if s.program() {
				gocommand(t, "build", overlay(t, s), "-o", os.DevNull, "./"+overlaid)
				return
			}
			want := flat(s.text)
			for _, text := range sources {
				if strings.Contains(text, want) {
					return
				}
			}
			t.Errorf("no .go file of the repository has these lines:\n%s", s.text)
		})
	}
}

// TestFirstProgram holds the README's first program to its promise: ten statements, five packages of ours.
func TestFirstProgram(t *testing.T) {
	for _, s := range snippets(t) {
		if !strings.HasPrefix(s.where, "README.md") || !s.program() {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), s.where, s.text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		statements := 0
		ast.Inspect(file, func(n ast.Node) bool {
			if _, block := n.(*ast.BlockStmt); !block {
				if _, ok := n.(ast.Stmt); ok {
					statements++
				}
			}
			return true
		})
		t.Logf("%s: %d statements", s.where, statements)
		if statements > 10 {
			t.Errorf("%s has %d statements, more than 10", s.where, statements)
		}
		linksLittle(t, overlay(t, s), "./"+overlaid)
		return
	}
	t.Error("README.md has no program")
}

// TestSecurityNamesTests holds docs/security.md to the truth: each test that it names is one of ours.
func TestSecurityNamesTests(t *testing.T) {
	text, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := strings.Join(goFiles(t), "")
	names := regexp.MustCompile("`Test[A-Za-z0-9_]+`").FindAllString(string(text), -1)
	if len(names) < 30 {
		t.Errorf("only %d tests are named", len(names))
	}
	for _, name := range names {
		if !strings.Contains(sources, "func "+strings.Trim(name, "`")+"(t ") {
			t.Errorf("there is no test %s", name)
		}
	}
}

// overlaid is the folder, in the go command's eyes only, that holds a snippet.
const overlaid = "snippet-of-a-document"

// overlay returns the flag that puts s into the folder overlaid. Nothing is written into the tree.
func overlay(t *testing.T, s snippet) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source, list := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, overlaid, "main.go"): source}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{source: []byte(s.text), list: text} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "-overlay=" + list
}

// snippets returns the ```go blocks of README.md, which must be there, of the other documents in the
// root and of those in docs.
func snippets(t *testing.T) (all []snippet) {
	t.Helper()
	if _, err := os.Stat("README.md"); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, blocks(t, name, string(text))...)
		}
	}
	return all
}

// blocks returns the ```go blocks of one document, also those inside a list.
func blocks(t *testing.T, name, text string) (all []snippet) {
	t.Helper()
	var lines []string
	open, begin := "", 0
	for i, line := range strings.Split(text, "\n") {
		fence := strings.TrimSpace(line)
		switch {
		case open == "" && strings.HasPrefix(fence, "```"):
			open, begin, lines = fence, i+1, nil
		case open != "" && fence == "```":
			if strings.HasPrefix(strings.ToLower(open), "```go") {
				all = append(all, snippet{fmt.Sprintf("%s line %d", name, begin), strings.Join(lines, "\n") + "\n"})
			}
			open = ""
		case open != "":
			lines = append(lines, line)
		}
	}
	if open != "" {
		t.Fatalf("%s: the block that begins in line %d does not end", name, begin)
	}
	return all
}

// goFiles returns the text of every .go file of the repository, flattened. That it opens them all also
// tells go test's cache that this package's result depends on them.
func goFiles(t *testing.T) (texts []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		texts = append(texts, flat(string(text)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// flat takes the indentation and the empty lines away; what is left begins and ends with a line break.
func flat(text string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
