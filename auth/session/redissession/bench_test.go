package redissession_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/doorward/doorward/auth/session"
	"github.com/doorward/doorward/internal/redistest"
)

const firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"

// Over loopback, one caller after the other. The row's size is what MEMORY USAGE says of it and of its share of the index.
func BenchmarkStore(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, server.Client())
	ep := epoch(b, s)
	row := create(b, s)
	b.Run("ping", func(b *testing.B) {
		client := server.Client()
		for b.Loop() {
			_ = client.Ping(b.Context())
		}
	})
	p := int64(0)
	b.Run("rotate", func(b *testing.B) {
		for b.Loop() {
			p++
			rotate(b, s, showing(row, p, ep), session.Rotated)
		}
	})
	n := 0
	b.Run("create and end", func(b *testing.B) {
		for b.Loop() {
			n++
			row := create(b, s, func(c *session.Creation) { c.Session.ID, c.Max = fmt.Sprint("B", n), 100 })
			if _, err := s.End(b.Context(), ann, row.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list of 20", func(b *testing.B) {
		for range 20 {
			n++
			create(b, s, func(c *session.Creation) {
				c.Session.ID, c.Absolute, c.Session.Client.UserAgent = fmt.Sprintf("B%025d", n), 3*time.Hour, firefox
			})
		}
		for b.Loop() {
			if rows, err := s.List(b.Context(), ann); err != nil || len(rows) != 20 {
				b.Fatal(len(rows), err)
			}
		}
		b.ReportMetric(float64(server.Do("MEMORY", "USAGE", fmt.Sprintf("{dw}:S:B%025d", n)).(int64)), "bytes/row")
		b.ReportMetric(float64(server.Do("MEMORY", "USAGE", "{dw}:I:"+annHash).(int64))/20, "bytes/member")
	})
}
