//go:build unix

package history_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/history"
)

const child = "DOORWARD_TEST_HISTORY" // makes the test binary a process that records to this file and is killed

func TestMain(m *testing.M) {
	path := os.Getenv(child)
	if path == "" {
		os.Exit(m.Run())
	}
	r, err := history.Create(path)
	if err != nil {
		panic(err)
	}
	r.Request("n2", *ann())("") // unwritten until the next call begins
	r.Revocation("n2", session)(history.Confirmed, "")
	r.Revocation("n2", tokenID)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// What the child ended before it was killed, this process has accepted since.
func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	mine, theirs := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	r, err := history.Create(mine)
	if err != nil {
		t.Fatal(err)
	}
	r.Request("n1", *ann())("")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+theirs)
	if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by %v, expected it killed", err)
	}
	late := r.Request("n1", *ann())
	late("")
	late(auth.TokenRevoked)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	h, err := history.Read(mine, theirs)
	if err != nil {
		t.Fatal(err)
	}
	got := history.Check(h)
	if len(got.Violations) != 1 || got.Violations[0].Request.Node != "n1" || got.Violations[0].Revocation.Node != "n2" ||
		got.Before != 2 || got.After != 1 || got.Calls[history.Unreturned] != 1 {
		t.Errorf("got %v", got)
	}
	if _, err := history.Create(mine); err == nil {
		t.Error("a file that was there is written over")
	}
}

// A file may end anywhere. What was lost neither accuses the list nor makes the rest unreadable.
func TestRead_Truncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "whole")
	r, err := history.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			token := history.Token{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Session: fmt.Sprint("s", i), ID: "j", Version: 1}
			what := auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "ann"}, Session: token.Session}
			r.Request("n1", token)("")
			r.Revocation("n1", what)(history.Failed, "no \"answer\"\n")
			r.Revocation("n1", what)(history.Confirmed, "")
			r.Request("n2", token)(auth.TokenRevoked)
		})
	}
	all.Wait()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	read := func(text []byte) (*history.History, error) {
		if err := os.WriteFile(cut, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return history.Read(cut)
	}
	for n := 0; n <= len(whole); n += 37 {
		h, err := read(whole[:n])
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if r := history.Check(h); r.Err() != nil {
			t.Fatalf("cut at %d: %v", n, r.Err())
		}
	}
	h, err := read(whole)
	if err != nil {
		t.Fatal(err)
	}
	if r := history.Check(h); r.Witnessed != 8 || r.Calls[history.Failed] != 8 || h.Revocations[0].What == nil {
		t.Errorf("whole: got %v", r)
	}
	again, _ := read(whole)
	if !reflect.DeepEqual(h, again) {
		t.Error("two readings differ")
	}
	// A hole in the middle is a fault of the recorder's, and no history.
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for _, bad := range [][]byte{lines[0][:5], []byte("{}"), []byte(`{"T":99,"Begin":1,"End":2}`), []byte(`{"R":99,"End":2}`), lines[0], []byte("null")} {
		text := append(append(bytes.Clone(whole), bad...), '\n')
		if _, err := read(text); err == nil {
			t.Errorf("the line %s is read", bad)
		}
	}
}
