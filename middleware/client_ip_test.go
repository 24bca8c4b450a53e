package middleware_test

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/doorward/doorward/middleware"
)

var proxies = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("2001:db8:1::/48"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("::ffff:192.168.0.0/112"), // 192.168.0.0/16, written as IPv4-mapped
}

const peer = "10.0.0.1:4711"

// remote returns the RemoteAddr that the handler behind ClientIP sees.
func remote(header, peer string, lines http.Header) string {
	r := request("GET", "/")
	r.RemoteAddr, r.Header = peer, lines
	var got string
	h := middleware.ClientIP(header, proxies...)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
	serve(h, r)
	if r.RemoteAddr != peer {
		return "changed outside: " + r.RemoteAddr
	}
	return got
}

// STD-R04, ATK-L04: the right-most untrusted hop of the configured header; garbage means the peer.
func TestATK_L04_ClientIP(t *testing.T) {
	const xff, fwd, real = "X-Forwarded-For", "Forwarded", "X-Real-IP"
	for name, c := range map[string]struct {
		header, peer string
		lines        []string
		want         string
	}{
		"no header":                           {xff, peer, nil, peer},
		"STD-R04 untrusted peer":              {xff, "198.51.100.1:80", []string{"203.0.113.9"}, "198.51.100.1:80"},
		"STD-R04 untrusted IPv6 peer":         {xff, "[2001:db8:2::1]:80", []string{"203.0.113.9"}, "[2001:db8:2::1]:80"},
		"peer that is no address, refused":    {xff, "@", []string{"203.0.113.9"}, ""},
		"trusted IPv6 peer":                   {xff, "[2001:db8:1::1]:80", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"trusted peer with a zone":            {xff, "[fe80::1%eth0]:80", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"trusted IPv4-mapped peer":            {xff, "[::ffff:10.0.0.1]:80", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"peer of an IPv4-mapped network":      {xff, "192.168.7.7:80", []string{"203.0.113.9"}, "203.0.113.9:0"},
		"one hop":                             {xff, peer, []string{"203.0.113.9"}, "203.0.113.9:0"},
		"spoofed on the left":                 {xff, peer, []string{"1.1.1.1, 2.2.2.2, 203.0.113.9"}, "203.0.113.9:0"},
		"trusted hops on the right":           {xff, peer, []string{"1.1.1.1, 203.0.113.9, 10.1.1.1 ,10.2.2.2"}, "203.0.113.9:0"},
		"spoofed trusted hop":                 {xff, peer, []string{"10.9.9.9, 203.0.113.9"}, "203.0.113.9:0"},
		"trusted hops alone":                  {xff, peer, []string{"10.9.9.9, 10.1.1.1"}, peer},
		"two lines":                           {xff, peer, []string{"1.1.1.1, 203.0.113.9", "10.1.1.1"}, "203.0.113.9:0"},
		"two lines, the first spoofed":        {xff, peer, []string{"1.1.1.1", "203.0.113.9"}, "203.0.113.9:0"},
		"garbage left of the client":          {xff, peer, []string{"unknown, _x, , 203.0.113.9"}, "203.0.113.9:0"},
		"unknown":                             {xff, peer, []string{"203.0.113.9, unknown"}, peer},
		"obfuscated":                          {xff, peer, []string{"203.0.113.9, _x, 10.1.1.1"}, peer},
		"empty hop":                           {xff, peer, []string{"203.0.113.9, , 10.1.1.1"}, peer},
		"trailing comma":                      {xff, peer, []string{"203.0.113.9,"}, peer},
		"empty line":                          {xff, peer, []string{"203.0.113.9", ""}, peer},
		"name":                                {xff, peer, []string{"evil.example"}, peer},
		"zeros":                               {xff, peer, []string{"203.0.113.009"}, peer},
		"number":                              {xff, peer, []string{"3405803785"}, peer},
		"network":                             {xff, peer, []string{"203.0.113.0/24"}, peer},
		"port":                                {xff, peer, []string{"203.0.113.9:5000"}, "203.0.113.9:5000"},
		"bad port":                            {xff, peer, []string{"203.0.113.9:99999"}, peer},
		"empty port":                          {xff, peer, []string{"203.0.113.9:"}, peer},
		"IPv6":                                {xff, peer, []string{"2001:db8:2::9"}, "[2001:db8:2::9]:0"},
		"IPv6 in brackets":                    {xff, peer, []string{"[2001:db8:2::9]"}, "[2001:db8:2::9]:0"},
		"IPv6 with a port":                    {xff, peer, []string{"[2001:db8:2::9]:5000"}, "[2001:db8:2::9]:5000"},
		"IPv6, half a bracket":                {xff, peer, []string{"[2001:db8:2::9"}, peer},
		"IPv4 in brackets":                    {xff, peer, []string{"[203.0.113.9]"}, peer},
		"zone":                                {xff, peer, []string{"2001:db8:2::9%eth0"}, "[2001:db8:2::9]:0"},
		"zone, brackets, port":                {xff, peer, []string{"[2001:db8:2::9%1]:5000"}, "[2001:db8:2::9]:5000"},
		"trusted hop with a zone":             {xff, peer, []string{"203.0.113.9, fe80::7%eth0"}, "203.0.113.9:0"},
		"IPv4-mapped":                         {xff, peer, []string{"::ffff:203.0.113.9"}, "203.0.113.9:0"},
		"trusted IPv4-mapped hop":             {xff, peer, []string{"203.0.113.9, ::ffff:10.1.1.1"}, "203.0.113.9:0"},
		"IPv4-mapped in hex":                  {xff, peer, []string{"203.0.113.9, ::ffff:a01:101"}, "203.0.113.9:0"},
		"quoted":                              {xff, peer, []string{`"203.0.113.9"`}, peer},
		"5 KiB of the client's":               {xff, peer, []string{strings.Repeat("x", 5<<10) + ", 203.0.113.9"}, "203.0.113.9:0"},
		"5 KiB of the client's hops":          {xff, peer, []string{strings.Repeat("1.1.1.1, ", 600) + "203.0.113.9, 10.1.1.1"}, "203.0.113.9:0"},
		"5 KiB of the client's in a line":     {xff, peer, []string{strings.Repeat("x", 5<<10), "203.0.113.9"}, "203.0.113.9:0"},
		"5 KiB of the client's in lines":      {xff, peer, slices.Concat(slices.Repeat([]string{"1.1.1.1"}, 1<<10), []string{"203.0.113.9", "10.1.1.1"}), "203.0.113.9:0"},
		"4 KiB":                               {xff, peer, []string{"203.0.113.9" + strings.Repeat(",10.1.1.1", 453)}, "203.0.113.9:0"},
		"over 4 KiB":                          {xff, peer, []string{"203.0.113.9" + strings.Repeat(",10.1.1.1", 454)}, peer},
		"over 4 KiB of lines":                 {xff, peer, slices.Concat([]string{"203.0.113.9"}, slices.Repeat([]string{"10.1.1.1"}, 454)), peer},
		"one hop over 4 KiB":                  {xff, peer, []string{strings.Repeat(" ", 4<<10) + "203.0.113.9"}, peer},
		"name in lower case":                  {"x-forwarded-for", peer, []string{"203.0.113.9"}, "203.0.113.9:0"},
		"X-Real-IP":                           {real, peer, []string{"203.0.113.9"}, "203.0.113.9:0"},
		"X-Real-IP, trusted address":          {real, peer, []string{"10.1.1.1"}, peer},
		"X-Real-IP, list":                     {real, peer, []string{"1.1.1.1, 203.0.113.9"}, peer},
		"X-Real-IP, two lines":                {real, peer, []string{"1.1.1.1", "203.0.113.9"}, peer},
		"X-Real-IP, empty":                    {real, peer, []string{""}, peer},
		"CF-Connecting-IP":                    {"CF-Connecting-IP", peer, []string{"2001:db8:2::9"}, "[2001:db8:2::9]:0"},
		"Forwarded":                           {fwd, peer, []string{"for=203.0.113.9"}, "203.0.113.9:0"},
		"Forwarded, the RFC's":                {fwd, peer, []string{`for=192.0.2.43, For="[2001:db8:cafe::17]:4711";proto=http;by=203.0.113.43`}, "[2001:db8:cafe::17]:4711"},
		"Forwarded, port":                     {fwd, peer, []string{`for="203.0.113.9:5000";proto=https`}, "203.0.113.9:5000"},
		"Forwarded, port unquoted":            {fwd, peer, []string{`for=203.0.113.9:5000`}, peer},
		"Forwarded, hidden port":              {fwd, peer, []string{`for="203.0.113.9:_p"`}, peer},
		"Forwarded, trusted on the right":     {fwd, peer, []string{`for=1.1.1.1, for=203.0.113.9;by=10.0.0.1, for="10.1.1.1:80"`}, "203.0.113.9:0"},
		"Forwarded, two lines":                {fwd, peer, []string{`for=1.1.1.1`, `for=203.0.113.9`, `for=10.1.1.1`}, "203.0.113.9:0"},
		"Forwarded, unknown":                  {fwd, peer, []string{`for=203.0.113.9, for=unknown`}, peer},
		"Forwarded, obfuscated":               {fwd, peer, []string{`for=203.0.113.9, for=_hidden`}, peer},
		"Forwarded, no for":                   {fwd, peer, []string{`for=203.0.113.9, proto=https`}, peer},
		"Forwarded, empty element":            {fwd, peer, []string{`for=203.0.113.9,`}, peer},
		"Forwarded, for twice":                {fwd, peer, []string{`for=1.1.1.1;for=203.0.113.9`}, peer},
		"Forwarded, no pair":                  {fwd, peer, []string{`203.0.113.9`}, peer},
		"Forwarded, empty name":               {fwd, peer, []string{`for=203.0.113.9;=x`}, peer},
		"Forwarded, space around the equals":  {fwd, peer, []string{`for = 203.0.113.9`}, peer},
		"Forwarded, empty value":              {fwd, peer, []string{`for=`}, peer},
		"Forwarded, empty quotation":          {fwd, peer, []string{`for=""`}, peer},
		"Forwarded, empty pairs":              {fwd, peer, []string{`;for=203.0.113.9;;proto=http;`}, "203.0.113.9:0"},
		"Forwarded, the client's open":        {fwd, peer, []string{`for=1.1.1.1;x=", for=203.0.113.9`}, "203.0.113.9:0"},
		"Forwarded, the client's escape":      {fwd, peer, []string{`for="\, for="203.0.113.9", for="10.1.1.1:80"`}, "203.0.113.9:0"},
		"Forwarded, 5 KiB of the client's":    {fwd, peer, []string{`for="` + strings.Repeat("x", 5<<10) + `, for=203.0.113.9;by="10.0.0.1:80"`}, "203.0.113.9:0"},
		"Forwarded, open quotation":           {fwd, peer, []string{`for=1.1.1.1, for="203.0.113.9`}, peer},
		"Forwarded, open by an escape":        {fwd, peer, []string{`for=203.0.113.9;x="a\"`}, peer},
		"Forwarded, escaped backslash":        {fwd, peer, []string{`for=1.1.1.1, for=203.0.113.9;x="a\\"`}, "203.0.113.9:0"},
		"Forwarded, comma behind escapes":     {fwd, peer, []string{`for=1.1.1.1, for=203.0.113.9;x="\\\", for=2.2.2.2"`}, "203.0.113.9:0"},
		"Forwarded, open quotation in a line": {fwd, peer, []string{`for="1.1.1.1`, `for=203.0.113.9`}, "203.0.113.9:0"},
		"Forwarded, comma in a quotation":     {fwd, peer, []string{`for=203.0.113.9;x="a, for=1.1.1.1"`}, "203.0.113.9:0"},
		"Forwarded, semicolon in a quotation": {fwd, peer, []string{`x="a;for=1.1.1.1";for=203.0.113.9`}, "203.0.113.9:0"},
		"Forwarded, escaped quotation mark":   {fwd, peer, []string{`x="\", for=1.1.1.1";for=203.0.113.9`}, "203.0.113.9:0"},
		"Forwarded, escape in the zone":       {fwd, peer, []string{`for="[2001:db8:2::9%\"]"`}, peer},
		"Forwarded, escape in the address":    {fwd, peer, []string{`for="203.0.113.\9"`}, peer},
	} {
		t.Run(name, func(t *testing.T) {
			// All the other headers disagree: none but the configured one is read.
			h := http.Header{"X-Forwarded-For": {"6.6.6.6"}, "Forwarded": {"for=6.6.6.6"}, "X-Real-Ip": {"6.6.6.6"}, "Client-Ip": {"6.6.6.6"}}
			h[http.CanonicalHeaderKey(c.header)] = c.lines
			if got := remote(c.header, c.peer, h); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
