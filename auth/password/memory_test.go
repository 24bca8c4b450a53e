package password_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

// storm is what a child process reports.
type storm struct{ failed, busy, baseKiB, peakKiB int }

// STD-P14, ATK-L20: 1,000 checks at once in a process of its own stay under Slots x 64 MiB + 64 MiB of
// resident memory, everything counted. Those that find room are answered, all others get Busy.
func TestMemory_STD_P14_ATK_L20_Parallel1000(t *testing.T) {
	if slots := os.Getenv("PASSWORD_STORM_SLOTS"); slots != "" {
		runStorm(t, slots)
		return
	}
	if _, err := peakKiB(); err != nil {
		t.Skip("no VmHWM in /proc/self/status on this system:", err)
	}
	if raceEnabled {
		t.Skip("the race detector keeps shadow memory of its own")
	}
	const queue = 6
	for _, slots := range []int{2, 4} {
		t.Run(fmt.Sprintf("%d slots", slots), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory_STD_P14_ATK_L20_Parallel1000$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("PASSWORD_STORM_SLOTS=%d %d", slots, queue))
			out, err := cmd.CombinedOutput()
			_, report, ok := strings.Cut(string(out), "STORM ")
			var got storm
			if _, scanErr := fmt.Sscan(report, &got.failed, &got.busy, &got.baseKiB, &got.peakKiB); err != nil || !ok || scanErr != nil {
				t.Fatalf("the child: %v\n%s", err, out)
			}
			limit := (slots + 1) * 64 * 1024
			t.Logf("%d answered, %d busy; peak %.1f MiB of %d (%.1f MiB before)",
				got.failed, got.busy, float64(got.peakKiB)/1024, limit/1024, float64(got.baseKiB)/1024)
			if got.peakKiB >= limit {
				t.Errorf("peak %d KiB, want under %d", got.peakKiB, limit)
			}
			if got.failed < slots+queue || got.busy < 900 || got.failed+got.busy != 1000 {
				t.Errorf("%d answered and %d busy, want %d answered and the rest of 1000 busy", got.failed, got.busy, slots+queue)
			}
		})
	}
}

// runStorm is the child. It uses the costs of the zero Config, and a hash of them.
func runStorm(t *testing.T, setting string) {
	var c password.Config
	if _, err := fmt.Sscan(setting, &c.Slots, &c.Queue); err != nil {
		t.Fatal(err)
	}
	const hash = "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
	h := newHasher(t, c)
	base, _ := peakKiB()
	var mu sync.Mutex
	var got storm
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range 1000 {
		ready.Add(1)
		done.Go(func() {
			stored := hash
			if i%2 == 0 {
				stored = "" // an unknown user
			}
			ready.Done()
			<-start
			_, err := h.Verify(t.Context(), stored, "wrong")
			var wait interface{ RetryAfter() time.Duration }
			mu.Lock()
			defer mu.Unlock()
			switch {
			case auth.CodeOf(err) == auth.LoginFailed:
				got.failed++
			case auth.CodeOf(err) == auth.Busy && errors.As(err, &wait):
				got.busy++
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	peak, _ := peakKiB()
	fmt.Println("STORM", got.failed, got.busy, base, peak)
}

// peakKiB reads the most memory that the process ever had resident.
func peakKiB() (n int, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(rest, &n)
	return n, err
}
