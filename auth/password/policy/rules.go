package policy

import (
	"fmt"
	"strings"

	"github.com/doorward/doorward/auth"
)

// The codes of rules. They are stable: a page in another language has its own sentences for them.
const (
	TooShort      = "too_short"
	TooLong       = "too_long"
	Malformed     = "malformed" // not UTF-8, or with a NUL
	Common        = "common"    // listed: the whole of it, in any letter case
	Pattern       = "pattern"   // one short part over and over, or along the keyboard, the alphabet or the digits
	Context       = "context"   // made of words that belong to the user or the application
	Breached      = "breached"
	LowerMissing  = "lower_missing"
	UpperMissing  = "upper_missing"
	DigitMissing  = "digit_missing"
	SymbolMissing = "symbol_missing"
)

// A Rule is one demand: a stable code, and an English sentence.
type Rule struct{ Code, Text string }

// An Error lists every rule that a password breaks. It wraps [auth.ValidationFailed], 422, and never
// quotes the password.
type Error struct {
	Rules []Rule
	field string
}

// Error names the codes.
func (e *Error) Error() string {
	codes := make([]string, len(e.Rules))
	for i, r := range e.Rules {
		codes[i] = r.Code
	}
	return fmt.Sprintf("%s: policy: the %s is %s", auth.ValidationFailed, e.field, strings.Join(codes, ", "))
}

// Unwrap returns auth.ValidationFailed.
func (e *Error) Unwrap() error { return auth.ValidationFailed }

// Fields returns the sentence of each broken rule by the field and the rule's code, such as
// "password.too_short". auth.WriteProblem sends them.
func (e *Error) Fields() map[string]string {
	fields := make(map[string]string, len(e.Rules))
	for _, r := range e.Rules {
		fields[e.field+"."+r.Code] = r.Text
	}
	return fields
}

func (p *Policy) refuse(codes ...string) error {
	e := &Error{field: p.c.Field}
	for _, code := range codes {
		e.Rules = append(e.Rules, Rule{code, p.text(code)})
	}
	return e
}

// Requirements returns the rules as text for a form, in the order in which a user wants to know them. What no
// honest user meets, such as a NUL, is not among them.
func (p *Policy) Requirements() []Rule {
	codes := []string{TooShort}
	for _, c := range []struct {
		on   bool
		code string
	}{
		{p.c.Composition.Lower, LowerMissing},
		{p.c.Composition.Upper, UpperMissing},
		{p.c.Composition.Digit, DigitMissing},
		{p.c.Composition.Symbol, SymbolMissing},
		{true, Common},
		{true, Pattern},
		{true, Context},
		{len(p.c.Breached) > 0, Breached},
		{true, TooLong},
	} {
		if c.on {
			codes = append(codes, c.code)
		}
	}
	rules := make([]Rule, len(codes))
	for i, code := range codes {
		rules[i] = Rule{code, p.text(code)}
	}
	return rules
}

// text returns a sentence that reads both as a demand and as the reason of a refusal.
func (p *Policy) text(code string) string {
	switch code {
	case TooShort:
		return fmt.Sprintf("Use at least %d characters; any kind will do, spaces too.", p.c.MinLength)
	case TooLong:
		return fmt.Sprintf("Use at most %d bytes: %d letters of English, fewer of other scripts.", p.c.MaxBytes, p.c.MaxBytes)
	case Malformed:
		return "Use no characters that are not text."
	case Common:
		return "Do not use a common password, a word of a dictionary or a name alone."
	case Pattern:
		return "Do not repeat one short part, or follow the keyboard, the alphabet or the digits."
	case Context:
		return "Do not make it of your own name or address, or of the name of this service."
	case Breached:
		return "Do not use a password that has appeared in a data breach."
	case LowerMissing:
		return "Use at least one small letter."
	case UpperMissing:
		return "Use at least one capital letter."
	case DigitMissing:
		return "Use at least one digit."
	default: // SymbolMissing
		return "Use at least one character that is neither a letter nor a digit."
	}
}
