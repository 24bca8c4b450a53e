package middleware

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/doorward/doorward/auth"
)

// maxClientHeader bounds, in bytes from the right, how far the hops are followed: dozens of proxies.
const maxClientHeader = 4096

// ClientIP puts the client's address into the RemoteAddr of the request that goes on, for whatever counts or
// logs by it. Without ClientIP the peer of the connection counts. trusted are the networks of the own
// proxies, and of nobody else; a peer outside of them is left as it is.
//
// header is the one that these proxies set: X-Forwarded-For or Forwarded (RFC 7239), which are read from the
// right up to the first hop that is not trusted, or any other, such as X-Real-IP, with one address. No
// other header is looked at. Port and zone: RemoteAddr becomes "address:port" with the port that was said, or
// 0; a zone is dropped, and an IPv4-mapped address becomes IPv4.
//
// What stands left of the client's address is the client's own making, and neither its content nor its size
// matters. Whatever is no plain address on the way there means that the peer counts: an empty or hidden hop,
// "unknown", 4 KiB of trusted hops, a second line of a header with one address, and no untrusted hop at all,
// for then anybody within the trusted networks could pose as anybody else there. Proxies that pass on what
// a client sent make any of this worthless: see that each appends, or replaces.
//
// A peer on a Unix socket, whatever its end is called, and one whose RemoteAddr is no address are 500: that server needs [TrustUnixSocket].
// An empty or impossible header name, no trusted network, or an invalid one makes every request 500.
func ClientIP(header string, trusted ...netip.Prefix) Middleware {
	if len(trusted) == 0 {
		return broken("ClientIP needs the networks of the trusted proxies: got none")
	}
	return clientIP("ClientIP", header, trusted, false)
}

// TrustUnixSocket is [ClientIP] for a server that listens on a Unix socket: whoever may connect to the socket is one of the
// own proxies, and its header names the client. So keep strangers from the socket by the mode of its directory. trusted
// are the networks of further proxies, in front of that one; none is usual. A peer that has an address, where
// the server listens on TCP too, is judged by them as ClientIP does.
//
// Where the header names no client the request goes on as it came, without an address, and is 500 at each limit that
// counts networks: there is no peer that could count in its place.
func TrustUnixSocket(header string, trusted ...netip.Prefix) Middleware {
	return clientIP("TrustUnixSocket", header, trusted, true)
}

func clientIP(name, header string, trusted []netip.Prefix, socket bool) Middleware {
	if header == "" || !isToken(header) {
		return broken(fmt.Sprintf("%s needs the name of a header: got %q", name, header))
	}
	header, nets := http.CanonicalHeaderKey(header), networks(slices.Clone(trusted))
	for i, p := range nets {
		if !p.IsValid() {
			return broken(fmt.Sprintf("%s needs valid networks: got %q", name, p))
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 { // addresses are compared unmapped
			nets[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	return wrap(func(_ http.ResponseWriter, r *http.Request) (*http.Request, error) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		local := isSocket(r)
		switch {
		case (local || err != nil) && !(local && socket):
			return nil, fmt.Errorf("middleware: %s: got a peer %q, expected address:port; a server on a Unix socket needs TrustUnixSocket",
				name, auth.Printable(r.RemoteAddr, 64))
		case !local && !nets.contain(plain(peer.Addr())):
			return r, nil
		}
		client, ok := clientAddress(header, r.Header[header], nets)
		if !ok && !(local && err == nil) {
			return r, nil
		}
		ctx := r.Context()
		if local {
			ctx = context.WithValue(ctx, socketReadKey{}, true)
		}
		r = r.WithContext(ctx) // a copy: RemoteAddr outside stays the peer
		if r.RemoteAddr = client.String(); !ok {
			r.RemoteAddr = "@" // the peer has bound its end to a file that is called like an address
		}
		return r, nil
	})
}

// socketReadKey is in the context of a request whose RemoteAddr is a client's, though it came over a Unix socket.
type socketReadKey struct{}

// isSocket says whether the RemoteAddr of r is the peer's on a Unix socket: by the listener, where net/http has told, since a
// peer chooses what its own end is called, and a RemoteAddr that some other middleware has made unreadable is no sign.
func isSocket(r *http.Request) bool {
	if r.Context().Value(socketReadKey{}) != nil {
		return false
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return local.Network() == "unix"
	}
	return r.RemoteAddr == "" || r.RemoteAddr == "@"
}

type networks []netip.Prefix

func (n networks) contain(a netip.Addr) bool {
	return slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(a) })
}

// plain is the one form in which addresses are compared.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// clientAddress returns the right-most hop outside of the trusted networks. ok is false when the peer counts.
func clientAddress(header string, lines []string, trusted networks) (client netip.AddrPort, ok bool) {
	cut, parse := cutNothing, parseHop
	switch header {
	case "X-Forwarded-For":
		cut = cutComma
	case "Forwarded":
		cut, parse = cutForwarded, parseForwarded
	default:
		if len(lines) != 1 {
			return netip.AddrPort{}, false
		}
	}
	size := 0
	for _, line := range slices.Backward(lines) { // lines in a row are one list (RFC 9110 section 5.3)
		for more := true; more; {
			var hop string
			line, hop, more = cut(line)
			if size += len(hop) + 1; size > maxClientHeader {
				return netip.AddrPort{}, false
			}
			a, ok := parse(hop)
			if !ok {
				return netip.AddrPort{}, false
			}
			if a = netip.AddrPortFrom(plain(a.Addr()), a.Port()); !trusted.contain(a.Addr()) {
				return a, true
			}
		}
	}
	return netip.AddrPort{}, false
}

// The cut functions take the last hop off a line; more says whether there was a comma before it.

func cutNothing(line string) (rest, hop string, more bool) { return "", line, false }

func cutComma(line string) (rest, hop string, more bool) {
	return cutAt(line, strings.LastIndexByte(line, ','))
}

// cutAt cuts around the byte at i, -1 for none.
func cutAt(line string, i int) (rest, hop string, more bool) {
	return line[:max(i, 0)], line[i+1:], i >= 0
}

// parseHop reads an address with or without a port; an IPv6 one with a port, and at will without, in brackets.
func parseHop(hop string) (netip.AddrPort, bool) {
	hop = strings.Trim(hop, " \t")
	if ap, err := netip.ParseAddrPort(hop); err == nil {
		return ap, true
	}
	inner, bracketed := strings.CutPrefix(hop, "[")
	if bracketed {
		if inner, bracketed = strings.CutSuffix(inner, "]"); !bracketed {
			return netip.AddrPort{}, false
		}
	}
	a, err := netip.ParseAddr(inner)
	return netip.AddrPortFrom(a, 0), err == nil && (!bracketed || a.Is6())
}
