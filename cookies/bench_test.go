package cookies_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/doorward/doorward/cookies"
)

func browserRequest(name string) *http.Request {
	r := &http.Request{Host: "app.example.com", Header: http.Header{}}
	r.Header.Set("Cookie", "_ga=GA1.2.3; theme=dark; "+name+"="+strings.Repeat("abcd-_.~", 60)+"; __Host-refresh=dwr1.k.abc.def")
	return r
}

func BenchmarkAccess(b *testing.B) {
	for _, c := range []struct {
		name   string
		jar    cookies.Jar
		cookie string
	}{
		{"zero", cookies.Jar{}, "__Host-access"},
		{"named", cookies.Jar{Name: "shop"}, "__Host-shop-access"},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, read := browserRequest(c.cookie), c.jar.Access
			b.ReportAllocs()
			for b.Loop() {
				if v, err := read(r); v == "" || err != nil {
					b.Fatal(v, err)
				}
			}
		})
	}
	b.Run("net/http", func(b *testing.B) {
		r := browserRequest("__Host-access")
		b.ReportAllocs()
		for b.Loop() {
			if c, err := r.Cookie("__Host-access"); c == nil || err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sealed", func(b *testing.B) {
		jar := cookies.Jar{Seal: sealWith("k1")}
		r := &http.Request{Host: "app.example.com", Header: http.Header{"Cookie": {sealedLine(b, jar, strings.Repeat("abcd-_.~", 60))}}}
		b.ReportAllocs()
		for b.Loop() {
			if v, err := jar.Access(r); v == "" || err != nil {
				b.Fatal(v, err)
			}
		}
	})
}
