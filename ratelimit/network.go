package ratelimit

import "net/netip"

var (
	nat64 = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 section 2.1
	sixTo = netip.MustParsePrefix("2002::/16")    // RFC 3056 section 2
)

// Network returns the keys under which a client's network is counted: one that a single customer of a
// provider cannot leave, and for IPv6 a wider one, since some are given more.
//
// IPv4 is counted by address, and so is IPv6 that carries an IPv4 address: mapped (RFC 4291 section 2.5.5.2),
// NAT64 and 6to4. Other IPv6 is counted by /64, within which a machine picks its addresses freely, and
// wide is its /48, within which a customer picks networks. Zones do not count. wide is "" where there
// is none. Addresses that are not valid are one network, "unknown".
func Network(addr netip.Addr) (key, wide string) {
	addr = addr.Unmap().WithZone("")
	switch b := addr.As16(); {
	case !addr.IsValid():
		return "unknown", ""
	case addr.Is4():
		return addr.String(), ""
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:])).String(), ""
	case sixTo.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:])).String(), ""
	}
	return netip.PrefixFrom(addr, 64).Masked().String(), netip.PrefixFrom(addr, 48).Masked().String()
}
