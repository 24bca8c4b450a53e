package redisrev_test

import (
	"fmt"
	"testing"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/internal/listtest"
	"github.com/doorward/doorward/internal/redistest"
)

// What a check costs beside the smallest round trip to the same Redis.
func BenchmarkList(b *testing.B) {
	s := redistest.Start(b)
	client := s.Client()
	l := settled(b, client)
	p := listtest.Principal(b, l, "x")
	for i := range 10_000 {
		listtest.Revoke(b, l, auth.Revocation{Owner: auth.Owner{Issuer: "i", Subject: "u"}, Session: fmt.Sprint(i)})
	}
	for _, bench := range []struct {
		name string
		do   func() error
	}{
		{"GET", func() error { _, _ = client.Get(b.Context(), "{dw}:s:none").Result(); return nil }},
		{"Check", func() error { return l.Check(b.Context(), p) }},
		{"Revoke", func() error { return l.Revoke(b.Context(), listtest.Below(p, 1)) }},
		{"Epoch", func() error { _, err := l.Epoch(b.Context()); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := bench.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
