package redisrev_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
	"github.com/doorward/doorward/middleware"
	"github.com/doorward/doorward/revocation"
	"github.com/doorward/doorward/tokens"
)

// guarded is a route behind a replica that holds entries of every kind, and a request that it lets in.
func guarded(t testing.TB) (handler http.Handler, r *http.Request, raw string, replica *revocation.Replica) {
	t.Helper()
	l := settled(t, redistest.Start(t).Client())
	for i := range 300 {
		owner := auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: fmt.Sprint(i)}}
		s, j, v := owner, owner, owner
		s.Session, j.TokenID, v.Below = fmt.Sprint("session", i), fmt.Sprint("token", i), 2
		listtest.Revoke(t, l, s, j, v)
	}
	replica = leased(t, replicate(t, l))
	tok, err := tokens.New(tokens.Config{
		Keys: tokens.NewKeyring(tokens.HS256("k1", key)), Issuer: issuer, Audience: "api", List: replica,
	})
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := tok.Stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err = tok.Issue(stamp, &auth.Principal{
		Subject: "01J9ZC2N8F6S9M0T3K4V5W6X7Y", Tenant: "acme", Session: "S3CKDJ2GQ5ZVKZ7HWJ4F2A6TQY", Version: 3,
		Roles: []string{"editor", "viewer"}, Competencies: []string{"sign"}, Methods: []string{"pwd", "otp"}, AuthTime: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r = httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	return middleware.RequireAuth(auth.Bearer(tok))(http.HandlerFunc(hello)), r, raw, replica
}

const issuer = "https://api.example.com"

var key = []byte("0123456789abcdefghijklmnopqrstuv")

func hello(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// nothing is a ResponseWriter that costs nothing.
type nothing struct{ h http.Header }

func (n nothing) Header() http.Header       { return n.h }
func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) WriteHeader(int)             {}

// peerClaims is what the token says, for golang-jwt's own parser.
type peerClaims struct {
	jwt.RegisteredClaims
	Session      string   `json:"sid"`
	Version      int64    `json:"ver"`
	Epoch        string   `json:"ep"`
	Tenant       string   `json:"tenant"`
	Roles        []string `json:"roles"`
	Competencies []string `json:"competencies"`
	Methods      []string `json:"amr"`
	AuthTime     int64    `json:"auth_time"`
}

// BenchmarkRequireAuth is a guarded route behind a replica, warm, and its check alone, beside a bare parse of the same
// token, in turns.
func BenchmarkRequireAuth(b *testing.B) {
	handler, r, raw, replica := guarded(b)
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithAudience("api"), jwt.WithExpirationRequired())
	w, p := nothing{http.Header{}}, listtest.Principal(b, replica, "x")
	inTurns(b, 1000, "golang-jwt", func() {
		var c peerClaims
		if _, err := parser.ParseWithClaims(raw, &c, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
			b.Fatal(err)
		}
	}, "RequireAuth", func() {
		handler.ServeHTTP(w, r)
	}, "Check", func() {
		if err := replica.Check(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	})
	if w.h.Get("WWW-Authenticate") != "" {
		b.Fatalf("refused: %v", w.h)
	}
}

// inTurns runs the works in batches of each calls, one after another, so that whatever else the machine does is done to
// all. It tells the median of a call of each, and that of the others as a part of the first's.
func inTurns(b *testing.B, each int, namesAndWorks ...any) {
	n := len(namesAndWorks) / 2
	took := make([][]float64, n)
	for round := 0; b.Loop(); round++ {
		for i := range n {
			i = (i + round) % n
			work, begun := namesAndWorks[2*i+1].(func()), time.Now()
			for range each {
				work()
			}
			took[i] = append(took[i], float64(time.Since(begun))/float64(each))
		}
	}
	b.ReportMetric(0, "ns/op")
	for i := range n {
		slices.Sort(took[i])
		median := took[i][len(took[i])/2]
		b.ReportMetric(median, namesAndWorks[2*i].(string)+"-ns")
		if i > 0 {
			b.ReportMetric(median/took[0][len(took[0])/2], namesAndWorks[2*i].(string)+"-ratio")
		}
	}
}

// Three allocations, as without a list in Redis, and no round trip: see TestReplica_RoundTrips.
func TestReplica_Allocations(t *testing.T) {
	handler, r, _, _ := guarded(t)
	w := nothing{http.Header{}}
	if n := testing.AllocsPerRun(1000, func() { handler.ServeHTTP(w, r) }); n > 3 || w.h.Get("WWW-Authenticate") != "" {
		t.Errorf("%v allocations, at most 3; header %v", n, w.h)
	}
}

// BenchmarkHTTP is a real server under 64 connections, with and without auth, in turns, and the client in the same process.
func BenchmarkHTTP(b *testing.B) {
	handler, _, raw, _ := guarded(b)
	under := func(h http.Handler) func() {
		s := httptest.NewServer(h)
		b.Cleanup(s.Close)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
		b.Cleanup(client.CloseIdleConnections)
		return func() {
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() {
					for range 20 {
						r, _ := http.NewRequest("GET", s.URL, nil)
						r.Header.Set("Authorization", "Bearer "+raw)
						res, err := client.Do(r)
						if err != nil || res.StatusCode != http.StatusNoContent {
							b.Error(res, err)
							return
						}
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
				})
			}
			all.Wait()
		}
	}
	inTurns(b, 1, "guarded", under(handler), "open", under(http.HandlerFunc(hello)))
}

// BenchmarkConfirm is from Revoke called to confirmed by three nodes.
func BenchmarkConfirm(b *testing.B) {
	s := redistest.Start(b)
	l := settled(b, s.Client())
	for range 3 {
		leased(b, replicate(b, settled(b, s.Client())))
	}
	for _, parallel := range []int{1, 16} {
		b.Run(fmt.Sprint(parallel, " at once"), func(b *testing.B) {
			var mu sync.Mutex
			var took []time.Duration
			var next atomic.Int64
			b.SetParallelism(max(1, parallel/runtime.GOMAXPROCS(0)))
			one := func() {
				r := auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "u"}, Session: fmt.Sprint("confirm", next.Add(1))}
				begun := time.Now()
				if err := l.Revoke(context.Background(), r); err != nil {
					b.Error(err)
				}
				mu.Lock()
				took = append(took, time.Since(begun))
				mu.Unlock()
			}
			if parallel == 1 {
				for b.Loop() {
					one()
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						one()
					}
				})
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/median")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs/p99")
		})
	}
}

// BenchmarkMillion loads a million live entries and looks some up.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	s := redistest.Start(b)
	l := settled(b, s.Client())
	epoch, err := l.Epoch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	rs := make([]auth.Revocation, 0, 10_000)
	for i := range n {
		rs = append(rs, auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "u"}, Session: fmt.Sprintf("SESSIONSESSIONSESSI%07d", i)})
		if len(rs) == cap(rs) {
			listtest.Revoke(b, l, rs...)
			rs = rs[:0]
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var replica *revocation.Replica
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if replica != nil {
				_ = replica.Close()
				replica = nil
			}
			before := heap()
			begun := time.Now()
			if replica, err = revocation.NewReplica(revocation.ReplicaConfig{Feed: l}); err != nil {
				b.Fatal(err)
			}
			for !replica.Status().Leased {
				<-time.After(10 * time.Millisecond)
			}
			took := time.Since(begun)
			if got := replica.Status().Entries; got != n {
				b.Fatalf("%d entries", got)
			}
			b.ReportMetric(float64(heap()-before)/n, "B/entry")
			b.ReportMetric(took.Seconds(), "s/load")
		}
	})
	defer func() { _ = replica.Close() }()
	b.Run("look-up", func(b *testing.B) {
		b.ReportAllocs()
		ps := make([]*auth.Principal, 1024)
		for i := range ps {
			ps[i] = &auth.Principal{Issuer: issuer, Subject: "u", Session: fmt.Sprintf("SESSIONSESSIONSESSI%07d", i*976), TokenID: "j", Version: 1, Epoch: epoch}
		}
		for i := 0; b.Loop(); i++ {
			if err := replica.Check(b.Context(), ps[i%len(ps)]); auth.CodeOf(err) != auth.TokenRevoked {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGrowth counts, at Redis, what nodes cost that do nothing but follow, and what an ending costs beyond that.
func BenchmarkGrowth(b *testing.B) {
	for _, nodes := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(nodes, " nodes"), func(b *testing.B) {
			s := redistest.Start(b)
			l := settled(b, s.Client())
			for range nodes {
				replicate(b, settled(b, s.Client(func(o *redis.Options) { o.PoolSize = 3 })))
			}
			redistest.Eventually(b, func() error {
				if n := s.Do("HLEN", "{dw}:nodes"); n != int64(nodes) {
					return fmt.Errorf("%v nodes", n)
				}
				return nil
			})
			measure := func(work func()) (bytes, cpu, took float64) {
				before, begun := usage(s), time.Now()
				work()
				after := usage(s)
				return after[0] - before[0], after[1] - before[1], time.Since(begun).Seconds()
			}
			for b.Loop() {
				idle, idleCPU, rest := measure(func() { <-time.After(5 * time.Second) })
				const endings = 500
				busy, busyCPU, took := measure(func() {
					var all sync.WaitGroup
					for i := range 10 {
						all.Go(func() {
							for j := range endings / 10 {
								listtest.Revoke(b, l, auth.Revocation{Owner: auth.Owner{Issuer: issuer, Subject: "u"}, Session: fmt.Sprint("growth", i, j, rest)})
							}
						})
					}
					all.Wait()
				})
				b.ReportMetric(idle/rest/float64(nodes), "B/s/node-idle")
				b.ReportMetric(1e6*idleCPU/rest/float64(nodes), "µs/s/node-idle")
				b.ReportMetric((busy-idle*took/rest)/endings, "B/ending")
				b.ReportMetric(1e6*(busyCPU-idleCPU*took/rest)/endings, "µs/ending")
				b.ReportMetric(endings/took, "endings/s")
			}
		})
	}
}

// usage is what Redis says of its network, in bytes both ways, and of its processor, in seconds.
func usage(s *redistest.Server) (u [2]float64) {
	for _, line := range strings.Split(s.Do("INFO", "stats").(string)+"\r\n"+s.Do("INFO", "cpu").(string), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "total_net_input_bytes", "total_net_output_bytes":
			u[0] += n
		case "used_cpu_sys", "used_cpu_user":
			u[1] += n
		}
	}
	return u
}
