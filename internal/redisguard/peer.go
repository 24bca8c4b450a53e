package redisguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A peer is the Redis that a client reaches, for errors: its addresses, and why the client cannot connect to them.
// It is a hook of the client's that sees dials and nothing else. go-redis tells a command why a dial failed only after
// five tries with pauses, which is later than a deadline of half a second.
type peer struct {
	name     string         // "Redis at 127.0.0.1:6379"
	sentinel *redis.Options // of a client that asks a Sentinel where the master is: no address is in the name

	mu      sync.Mutex
	dialing int               // dials under way
	probing bool              // see probe
	remote  string            // where the newest connection went
	failed  map[string]failed // by address: dials that failed, with none since that did not
}

type failed struct {
	err error
	at  time.Time
}

const (
	// fresh is for how long the failure of a dial is told as the cause of a later error. go-redis dials once a second,
	// or more often, for as long as it fails.
	fresh = 10 * time.Second

	addresses = 3 // that an error names at most
)

// newPeer names what a client reaches, and has the client tell of its dials.
func newPeer(client redis.UniversalClient) *peer {
	p := &peer{name: "Redis", failed: map[string]failed{}}
	switch c := client.(type) {
	case *redis.Client:
		if p.name = "Redis at " + c.Options().Addr; c.Options().Addr == "FailoverClient" { // go-redis's word
			p.name, p.sentinel = "Redis behind Sentinel", c.Options()
		}
		c.AddHook(p)
	case *redis.ClusterClient:
		p.name = "Redis Cluster"
		if all := c.Options().Addrs; len(all) > 0 {
			p.name += " at " + strings.Join(all[:min(len(all), addresses)], ", ")
		}
		c.OnNewNode(func(node *redis.Client) { node.AddHook(p) })
	}
	return p
}

// secretAddr says whether one of a client's addresses is a URL with a user, which every error would tell.
func secretAddr(client redis.UniversalClient) bool {
	var all []string
	switch c := client.(type) {
	case *redis.Client:
		if c.Options().Network != "unix" {
			all = []string{c.Options().Addr}
		}
	case *redis.ClusterClient:
		all = c.Options().Addrs
	}
	return slices.ContainsFunc(all, func(addr string) bool { return strings.Contains(addr, "@") })
}

// DialHook implements [redis.Hook].
func (p *peer) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		p.mu.Lock()
		p.dialing++
		p.mu.Unlock()
		defer func() { // also when the caller's own dialer panics
			p.mu.Lock()
			defer p.mu.Unlock()
			p.dialing--
			if errors.Is(err, context.Canceled) || p.sentinel != nil && ctx.Err() != nil {
				return // it says nothing of the address
			}
			p.dialed(addr, conn, err)
		}()
		return next(ctx, network, addr)
	}
}

// dialed notes how a dial ended. mu is held.
func (p *peer) dialed(addr string, conn net.Conn, err error) {
	switch {
	case err != nil:
		if len(p.failed) == 16 { // a Cluster whose nodes come and go
			clear(p.failed)
		}
		p.failed[addr] = failed{err, time.Now()}
	case conn != nil:
		delete(p.failed, addr)
		if remote := conn.RemoteAddr(); remote != nil {
			p.remote = remote.String()
		}
	}
}

// probe dials by way of the Sentinels and gives that the time it takes: go-redis asks a Sentinel that refuses some
// twenty times, for two seconds, and only then names it. One probe runs at a time.
func (p *peer) probe() {
	o := p.sentinel
	ctx, cancel := context.WithTimeout(context.Background(), max(o.DialTimeout, time.Second))
	defer cancel()
	var conn net.Conn
	var err error
	defer func() {
		if r := recover(); r != nil { // in the caller's own dialer
			err = fmt.Errorf("the client's dialer panicked: %v", r)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.probing = false
		p.dialed(o.Addr, conn, err)
	}()
	if conn, err = o.Dialer(ctx, o.Network, o.Addr); err == nil {
		_ = conn.Close()
	}
}

// ProcessHook and ProcessPipelineHook implement [redis.Hook]: nil adds nothing to a command.
func (*peer) ProcessHook(redis.ProcessHook) redis.ProcessHook                         { return nil }
func (*peer) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook { return nil }

// userinfo is what stands before the host in a URL that somebody gave for an address.
var userinfo = regexp.MustCompile(`[^\s"]+@`)

// explain puts the address in front of an error. Unless Redis has spoken, it adds why the last dials failed, or that
// one is under way. What an error has in its chain stays there, unless its text has the user of a URL in it.
func (p *peer) explain(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := p.name
	if p.sentinel != nil && p.remote != "" {
		name += ", last connected to " + p.remote
	}
	if answered(err) {
		return fmt.Errorf("%s: %w", name, err)
	}
	told := 0
	for _, f := range p.failed {
		if time.Since(f.at) < fresh && told < addresses && !strings.Contains(err.Error(), f.err.Error()) {
			err = fmt.Errorf("%w: %w", err, f.err)
			told++
		}
	}
	if told == 0 && p.sentinel != nil && !p.probing {
		p.probing = true
		go p.probe()
	}
	if told == 0 && p.dialing > 0 {
		err = fmt.Errorf("%w: still connecting", err)
	}
	if text := err.Error(); userinfo.MatchString(text) {
		err = fmt.Errorf("%w: %s", ErrMissed, userinfo.ReplaceAllString(text, "...@"))
	}
	return fmt.Errorf("%s: %w", name, err)
}
