// Package policy decides whether a new password is good enough, by NIST SP 800-63B-4 section 3.1.1.2: long enough, not a
// common one, not one that was breached, not made of the user's own name.
//
// A [Policy] lists every rule that a password breaks, tells its rules for a form, and generates passwords that
// keep them. It does not own hashing (package password), nor when a password must be changed, hints or secret questions,
// which that standard forbids.
package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password"
)

const (
	floor      = 8  // ASVS 5.0 V6.2.1
	alone      = 15 // where the password is the only factor
	mostMin    = 64 // NIST SP 800-63B-4 asks for passwords of 64 to be allowed, so that no more can be demanded
	leastBytes = 72 // what bcrypt reads
)

// Config is the policy. The zero value is for passwords that are the only factor, without asking any service.
type Config struct {
	// MinLength is the least number of code points in Unicode form NFC: 8 (ASVS 5.0 V6.2.1) to 64. 0 means
	// 15, or 8 with SecondFactor.
	MinLength int

	// SecondFactor says that no login gets by with such a password alone.
	SecondFactor bool

	// MaxBytes is the longest password in bytes of form NFC: 72, which a Hasher with Config.Bcrypt needs, to
	// password.MaxBytes, which 0 means.
	MaxBytes int

	// Words belong to the application: the names of the product, the company, the domain. Check takes those
	// that belong to the user.
	Words []string

	// Composition demands classes of characters, for those who are made to keep such a rule. NIST SP
	// 800-63B-4 section 3.1.1.2 forbids it ("shall not impose other composition rules"), and so does ASVS 5.0 V6.2.5: it
	// makes passwords that are harder to remember and no harder to guess.
	Composition Composition

	// Breached are asked whether the password has leaked, such as [Ranges] and [List]. nil: nobody is. ASVS 5.0
	// V6.2.12 demands it of level 2.
	Breached []Source

	// IgnoreOutage accepts a password, with an event, when a Source of Breached cannot answer. By default the answer
	// is then [auth.StoreUnavailable], 503: no fault lets a password past a check that was asked for. The other
	// rules hold in either case. A request whose context has ended is always refused.
	IgnoreOutage bool

	// Observe gets an event "outage" when a Source cannot answer; its Outcome is "refused" or "ignored". nil: none.
	Observe func(context.Context, auth.Event)

	// Field is what [Error.Fields] calls the password; "" means "password".
	Field string
}

// Composition says which classes of characters a password must have. Symbols are all that is neither a letter nor
// a digit, spaces included.
type Composition struct{ Lower, Upper, Digit, Symbol bool }

// A Source knows passwords that have leaked.
type Source interface {
	// Breached says whether it knows password, in any letter case as far as it can tell. password is in form NFC and of a
	// bounded length. An error means that it cannot answer, and must not quote the password or its hash.
	Breached(ctx context.Context, password string) (bool, error)
}

// A Policy judges passwords. It does not change and is safe for concurrent use.
type Policy struct {
	c      Config
	words  []string // folded, the longest first
	common map[string]struct{}
}

// New checks c and returns a Policy. The first call of a process unpacks the list of common passwords (some
// 50 ms and 2 MB).
func New(c Config) (*Policy, error) {
	if c.MinLength == 0 {
		c.MinLength = alone
		if c.SecondFactor {
			c.MinLength = floor
		}
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = password.MaxBytes
	}
	if c.Field == "" {
		c.Field = "password"
	}
	switch {
	case c.MinLength < floor || c.MinLength > mostMin:
		return nil, fmt.Errorf("policy: Config.MinLength: got %d, expected 0 (the default) or %d to %d", c.MinLength, floor, mostMin)
	case c.MaxBytes < leastBytes || c.MaxBytes > password.MaxBytes:
		return nil, fmt.Errorf("policy: Config.MaxBytes: got %d, expected 0 (the default) or %d to %d", c.MaxBytes, leastBytes, password.MaxBytes)
	case slices.Contains(c.Breached, nil):
		return nil, errors.New("policy: Config.Breached: got a nil Source")
	case c.IgnoreOutage && len(c.Breached) == 0:
		return nil, errors.New("policy: Config.IgnoreOutage without Config.Breached: expected a Source, or nothing to ignore")
	}
	common, err := commonPasswords()
	if err != nil {
		return nil, err
	}
	c.Breached = slices.Clone(c.Breached)
	return &Policy{c: c, words: wordsOf(c.Words), common: common}, nil
}

// Check says whether password may be set. about is what belongs to its owner: name, mail address, login name,
// whatever is known; parts of them are found.
//
// A password that breaks rules is an *[Error] with all of them, which wraps [auth.ValidationFailed]. One that
// could not be checked is [auth.StoreUnavailable] (see Config.IgnoreOutage).
func (p *Policy) Check(ctx context.Context, password string, about ...string) error {
	text, broken := p.form(password)
	if broken == "" {
		codes := p.local(text, slices.Concat(p.words, wordsOf(about)))
		breached, outage := p.breached(ctx, text)
		if breached {
			codes = append(codes, Breached)
		}
		if len(codes) == 0 {
			return outage
		}
		return p.refuse(codes...)
	}
	return p.refuse(broken)
}

// form returns the password in NFC, or the code of why there is none to judge. What is far too long is measured
// before anything else is done with it (ATK-L09).
func (p *Policy) form(pw string) (text, broken string) {
	switch {
	case len(pw) > password.MaxBytes:
		return "", TooLong
	case !utf8.ValidString(pw) || strings.ContainsRune(pw, 0):
		return "", Malformed
	}
	if text = norm.NFC.String(pw); len(text) > password.MaxBytes {
		return "", TooLong
	}
	return text, ""
}

// local returns the codes of the rules that need nobody's answer.
func (p *Policy) local(text string, words []string) (codes []string) {
	add := func(broken bool, code string) {
		if broken {
			codes = append(codes, code)
		}
	}
	has := func(is func(rune) bool) bool { return strings.ContainsFunc(text, is) }
	folded := fold(text)

	add(utf8.RuneCountInString(text) < p.c.MinLength, TooShort)
	add(len(text) > p.c.MaxBytes, TooLong)
	add(p.isCommon(folded), Common)
	add(isPattern(folded, p.c.MinLength), Pattern)
	add(madeOf(folded, words), Context)
	add(p.c.Composition.Lower && !has(unicode.IsLower), LowerMissing)
	add(p.c.Composition.Upper && !has(unicode.IsUpper), UpperMissing)
	add(p.c.Composition.Digit && !has(unicode.IsDigit), DigitMissing)
	add(p.c.Composition.Symbol && !has(isSymbol), SymbolMissing)
	return codes
}

func isSymbol(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// breached asks the sources. One that knows the password settles it, whatever happens to the others.
func (p *Policy) breached(ctx context.Context, text string) (breached bool, outage error) {
	for _, s := range p.c.Breached {
		known, err := s.Breached(ctx, text)
		if err != nil {
			outage = errors.Join(outage, err)
			continue
		}
		if known {
			return true, nil
		}
	}
	if outage == nil {
		return false, nil
	}
	outage = fmt.Errorf("%w: policy: whether the password was breached: %w", auth.StoreUnavailable, outage)
	ignore := p.c.IgnoreOutage && ctx.Err() == nil // nobody gets past it by hanging up
	if p.c.Observe != nil {
		e := auth.Event{Name: "outage", Outcome: "refused", Time: time.Now(), Err: outage}
		if ignore {
			e.Outcome = "ignored"
		}
		p.c.Observe(ctx, e)
	}
	if ignore {
		return false, nil
	}
	return false, outage
}

// fold returns text as lists are compared with: in any letter case, and in the form that joins look-alikes of one
// character. Passwords themselves are never changed like this.
func fold(text string) string { return strings.ToLower(norm.NFKC.String(text)) }
