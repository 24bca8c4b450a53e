// Package browsertest drives a real Chromium for tests of pages, by the WebDriver protocol (https://www.w3.org/TR/webdriver2/).
//
// It does not own the server whose pages are tested. The browser has no state of before and leaves none.
package browsertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience is how long the browser may take for anything. It is long, because machines are slow at times.
const patience = 60 * time.Second

// A Browser is a window of Chromium without a screen.
type Browser struct {
	t       testing.TB
	session string // address of the WebDriver session
}

// Start starts a browser. Without chromium and chromedriver the test is skipped, or fails when DOORWARD_TEST_SERVERS=required.
func Start(t testing.TB) *Browser {
	t.Helper()
	for _, name := range []string{"chromium", "chromedriver"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("DOORWARD_TEST_SERVERS") == "required" {
				t.Fatalf("DOORWARD_TEST_SERVERS=required, and %s is missing (apt-get install chromium chromium-driver): %v", name, err)
			}
			t.Skipf("needs %s, which is not installed", name)
		}
	}
	driver := exec.Command("chromedriver", "--port=0")
	out, err := driver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Process.Kill(); _ = driver.Wait() })
	var port string
	for lines := bufio.NewScanner(out); port == "" && lines.Scan(); {
		if m := regexp.MustCompile(`successfully on port (\d+)`).FindStringSubmatch(lines.Text()); m != nil {
			port = m[1]
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // or it would wait for its own words to be read
	b := &Browser{t: t, session: "http://127.0.0.1:" + port + "/session"}
	var made struct{ SessionID string }
	// It runs as root in containers, where its sandbox does not work; it loads nothing but the test's own pages.
	b.do("POST", "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"goog:chromeOptions": map[string]any{
		"args": []string{"--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir()},
	}}}}, &made)
	b.session += "/" + made.SessionID
	t.Cleanup(func() {
		if err := b.call("DELETE", "", struct{}{}, nil); err != nil { // or the browser would outlive the driver
			t.Errorf("the browser does not end: %v", err)
		}
	})
	return b
}

// Open goes to an address. That only its fragment differs from the present one loads nothing.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.do("POST", "/url", map[string]string{"url": url}, nil)
}

// Run runs a piece of script in the page and returns what it returns, as text.
func (b *Browser) Run(script string) string {
	b.t.Helper()
	var v any
	b.do("POST", "/execute/sync", map[string]any{"script": script, "args": []any{}}, &v)
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// Type puts text into the field that a CSS selector finds, in place of what is there, as keys of a user.
func (b *Browser) Type(selector, text string) {
	b.t.Helper()
	b.do("POST", "/element/"+b.find(selector)+"/clear", struct{}{}, nil)
	b.do("POST", "/element/"+b.find(selector)+"/value", map[string]string{"text": text}, nil)
}

// Click clicks what a CSS selector finds.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	b.do("POST", "/element/"+b.find(selector)+"/click", struct{}{}, nil)
}

// See waits until the element that a selector finds has this text in it, and returns all of it.
func (b *Browser) See(selector, text string) string {
	b.t.Helper()
	var seen string
	for begun := time.Now(); time.Since(begun) < patience; {
		if seen = b.Run("return (document.querySelector(" + quote(selector) + ") || {}).innerText"); strings.Contains(seen, text) {
			return seen
		}
	}
	b.t.Fatalf("%s: got %q, expected %q", selector, seen, text)
	return ""
}

func (b *Browser) find(selector string) string {
	b.t.Helper()
	var found map[string]string
	b.do("POST", "/element", map[string]string{"using": "css selector", "value": selector}, &found)
	for _, id := range found { // under a fixed name of the protocol's
		return id
	}
	b.t.Fatalf("no %s", selector)
	return ""
}

func quote(s string) string {
	text, _ := json.Marshal(s) // of a string it cannot fail
	return string(text)
}

func (b *Browser) do(method, path string, in, out any) {
	b.t.Helper()
	if err := b.call(method, path, in, out); err != nil {
		b.t.Fatalf("browser: %s %s: %v", method, path, err)
	}
}

func (b *Browser) call(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, b.session+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: 2 * patience}).Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(string(answer.Value))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, out)
}
