package redistest

import (
	"fmt"
	"slices"
	"strings"
)

// Dump is all that the server holds, keys included, as text: what somebody reads who has a backup.
func (s *Server) Dump() string {
	s.t.Helper()
	var all []string
	for _, k := range s.Do("KEYS", "*").([]any) {
		var v any
		switch kind := s.Do("TYPE", k); kind {
		case "string":
			v = s.Do("GET", k)
		case "hash":
			v = s.Do("HGETALL", k)
		case "zset":
			v = s.Do("ZRANGE", k, 0, -1, "WITHSCORES")
		case "set":
			v = s.Do("SMEMBERS", k)
		case "stream":
			v = s.Do("XRANGE", k, "-", "+")
		case "none": // it has expired meanwhile
		default:
			s.t.Fatalf("redistest: Dump: a %v", kind)
		}
		all = append(all, fmt.Sprint(k, " ", v, "\n"))
	}
	slices.Sort(all)
	return strings.Join(all, "")
}
