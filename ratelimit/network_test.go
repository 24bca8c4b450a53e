package ratelimit_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/doorward/doorward/ratelimit"
)

func TestNetwork_STD_R05_ATK_L05(t *testing.T) {
	for _, test := range []struct{ name, addr, key, wide string }{
		{"IPv4", "192.0.2.1", "192.0.2.1", ""},
		{"IPv4, its neighbour", "192.0.2.2", "192.0.2.2", ""},
		{"IPv4-mapped", "::ffff:192.0.2.1", "192.0.2.1", ""},
		{"IPv4-mapped, in hexadecimal", "::ffff:c000:201", "192.0.2.1", ""},
		{"IPv4-mapped with a zone", "::ffff:192.0.2.1%eth0", "192.0.2.1", ""},
		{"NAT64", "64:ff9b::192.0.2.1", "192.0.2.1", ""},
		{"NAT64 with a zone", "64:ff9b::c000:201%1", "192.0.2.1", ""},
		{"next to NAT64", "64:ff9b:0:0:0:1:c000:201", "64:ff9b::/64", "64:ff9b::/48"},
		{"NAT64 of local use", "64:ff9b:1::c000:201", "64:ff9b:1::/64", "64:ff9b:1::/48"},
		{"6to4", "2002:c000:201::1", "192.0.2.1", ""},
		{"6to4, another network of it", "2002:c000:201:ffff:a:b:c:d", "192.0.2.1", ""},
		{"IPv6", "2001:db8:1:2::1", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"IPv6, same /64", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"IPv6, next /64", "2001:db8:1:3::1", "2001:db8:1:3::/64", "2001:db8:1::/48"},
		{"IPv6, next /48", "2001:db8:2:2::1", "2001:db8:2:2::/64", "2001:db8:2::/48"},
		{"IPv6 with a zone", "fe80::1%eth0", "fe80::/64", "fe80::/48"},
		{"IPv6 with another zone", "fe80::2%eth1", "fe80::/64", "fe80::/48"},
		{"loopback", "::1", "::/64", "::/48"},
		{"IPv4-compatible, deprecated", "::192.0.2.1", "::/64", "::/48"},
	} {
		if key, wide := ratelimit.Network(netip.MustParseAddr(test.addr)); key != test.key || wide != test.wide {
			t.Errorf("%s: %s: got %q and %q, want %q and %q", test.name, test.addr, key, wide, test.key, test.wide)
		}
	}
	if key, wide := ratelimit.Network(netip.Addr{}); key != "unknown" || wide != "" {
		t.Errorf("no address: got %q and %q", key, wide)
	}
}

// STD-R05: who may pick the lower half of an address cannot pick the key by it.
func FuzzNetwork(f *testing.F) {
	for _, a := range []string{"192.0.2.1", "::ffff:192.0.2.1", "64:ff9b::1", "2002:c000:201::1", "2001:db8::1", "fe80::1%eth0"} {
		f.Add(netip.MustParseAddr(a).AsSlice(), "eth0", uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, zone string, low uint64) {
		addr, ok := netip.AddrFromSlice(b)
		key, wide := ratelimit.Network(addr.WithZone(zone))
		if !ok {
			if key != "unknown" {
				t.Fatalf("got %q for no address", key)
			}
			return
		}
		if k, w := ratelimit.Network(netip.AddrFrom16(addr.As16())); k != key || w != wide {
			t.Fatalf("%v in 16 bytes: got %q and %q, want %q and %q", addr, k, w, key, wide)
		}
		p, err := netip.ParsePrefix(key)
		if err != nil {
			if a, err := netip.ParseAddr(key); err != nil || !a.Is4() || wide != "" {
				t.Fatalf("%v: got %q and %q", addr, key, wide)
			}
			return
		}
		if w, err := netip.ParsePrefix(wide); err != nil || p.Bits() != 64 || w.Bits() != 48 || !p.Contains(addr) || !w.Contains(addr) {
			t.Fatalf("%v: got %q and %q", addr, key, wide)
		}
		if netip.MustParsePrefix("::/64").Contains(addr) || netip.MustParsePrefix("64:ff9b::/64").Contains(addr) {
			return // IPv4 addresses are carried in the lower half
		}
		a := addr.As16()
		binary.BigEndian.PutUint64(a[8:], low)
		if k, w := ratelimit.Network(netip.AddrFrom16(a)); k != key || w != wide {
			t.Fatalf("%v: got %q and %q, want those of %v", netip.AddrFrom16(a), k, w, addr)
		}
	})
}
