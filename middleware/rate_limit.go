package middleware

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/ratelimit"
)

// RateLimit lets each client do so much and no more; what is above is answered with 429 rate_limited. key says who
// counts as one, for example the principal's subject behind [RequireAuth]. It must not believe what a client
// may choose, or the client chooses a new budget each time. A nil key counts networks: the IPv4 address, the
// IPv6 /64, and at five times the rate the /48. Put [ClientIP] outside where a proxy stands in front.
//
// Requests with an empty key share one budget. So do all RateLimit of one Limiter with the same rate; where
// routes should count apart, let key begin with the route.
//
// Every answer has RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-11), and no-store,
// which the handler may replace, because kept fields would lie to others. A refusal has Retry-After, never too
// early. If the Limiter fails, the answer is 503 store_unavailable: a limit that is gone is no limit. A request whose
// RemoteAddr is no address is 500 where networks are counted: see [ClientIP] and [TrustUnixSocket].
//
// A nil Limiter and an impossible rate make every request 500.
func RateLimit(l ratelimit.Limiter, rate ratelimit.Rate, key func(*http.Request) string) Middleware {
	if l == nil {
		return broken("RateLimit needs a Limiter: got nil")
	}
	if err := ratelimit.Validate([]ratelimit.Cost{{Key: "rate", Rate: rate}}); err != nil {
		return broken("RateLimit: " + err.Error())
	}
	// Each rate has its own budgets: two that shared one would make each other stricter.
	name := fmt.Sprintf("%d/%v", rate.N, rate.Per)
	prefix := "rate:" + name + ":"
	wide := ratelimit.Rate{N: rate.N, Per: rate.Per}
	if wide.N <= int(rate.Per/time.Microsecond)/5 {
		wide.N *= 5
	}
	return wrap(func(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
		var costs []ratelimit.Cost
		if key != nil {
			costs = []ratelimit.Cost{{Key: prefix + "key:" + key(r), Rate: rate}}
		} else {
			var err error
			if costs, err = networkCosts(prefix, r, rate, wide); err != nil {
				return nil, err
			}
		}
		d, err := l.Take(r.Context(), costs...)
		if err != nil {
			return nil, fmt.Errorf("%w: rate limit: %w", auth.StoreUnavailable, err)
		}
		tellLimit(w.Header(), name, d)
		return r, d.Err()
	})
}

// networkCosts is one from the client's network, and from the wider one where there is one. Without an address it is an
// error of ours: all clients would share the budget of one, and the whole site would be refused by it.
func networkCosts(prefix string, r *http.Request, rate, wide ratelimit.Rate) ([]ratelimit.Cost, error) {
	addr := auth.ClientOf(r).Addr
	if !addr.IsValid() {
		return nil, fmt.Errorf("middleware: a limit by network: got the RemoteAddr %q, expected address:port; "+
			"behind a proxy on a Unix socket put TrustUnixSocket outside of the limit", auth.Printable(r.RemoteAddr, 64))
	}
	near, far := ratelimit.Network(addr)
	costs := []ratelimit.Cost{{Key: prefix + "net:" + near, Rate: rate}}
	if far != "" {
		costs = append(costs, ratelimit.Cost{Key: prefix + "net:" + far, Rate: wide})
	}
	return costs, nil
}

// tellLimit sets the fields of a decision. They are added, since limits may stand in a row and the fields
// are lists. Retry-After is set here too, for a renderer of OnError that does not know of it.
func tellLimit(h http.Header, name string, d ratelimit.Decision) {
	h["Cache-Control"] = noStore
	if policy, limit := d.Header(name); policy != "" {
		h.Add("RateLimit-Policy", policy)
		h.Add("RateLimit", limit)
	}
	if !d.OK {
		seconds := max(1, (d.RetryAfter+time.Second-1)/time.Second)
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
}
