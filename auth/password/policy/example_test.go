package policy_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/doorward/doorward/auth"
	"github.com/doorward/doorward/auth/password/policy"
)

// Registration: the rules as text for the form, then what is wrong with what was entered.
func Example() {
	rules, err := policy.New(policy.Config{Words: []string{"Doorward"}}) // 15 characters, 8 with SecondFactor
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range rules.Requirements()[:2] {
		fmt.Println(r.Text)
	}

	// The handler answers with auth.WriteProblem: 422, with the sentences as fields.
	err = rules.Check(context.Background(), "Doorward-2026", "Ann Smith", "ann@example.com")
	fmt.Println(auth.CodeOf(err))
	if broken, ok := errors.AsType[*policy.Error](err); ok {
		for _, r := range broken.Rules {
			fmt.Println(r.Code)
		}
	}
	fmt.Println(rules.Check(context.Background(), "correct horse battery staple"))

	// Output:
	// Use at least 15 characters; any kind will do, spaces too.
	// Do not use a common password, a word of a dictionary or a name alone.
	// validation_failed
	// too_short
	// context
	// <nil>
}

// The breached passwords of Have I Been Pwned: five digits of a hash leave the house. What happens while that service
// is away is a decision; without IgnoreOutage nobody sets a password then.
func ExampleNewRanges() {
	ranges, err := policy.NewRanges(policy.RangesConfig{})
	if err != nil {
		log.Fatal(err)
	}
	rules, err := policy.New(policy.Config{
		Breached: []policy.Source{ranges}, IgnoreOutage: true, Observe: auth.Log(nil),
	})
	fmt.Println(rules != nil, err)

	// Output: true <nil>
}

// A list of one's own, for those who may ask nobody.
func ExampleReadList() {
	list, err := policy.ReadList(strings.NewReader("1qaz2wsx3edc4rfv\nzxcvbnm123456789\n")) // a file with a password in each line
	if err != nil {
		log.Fatal(err)
	}
	rules, err := policy.New(policy.Config{Breached: []policy.Source{list}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rules.Check(context.Background(), "1QAZ2WSX3EDC4RFV"))

	// Output: validation_failed: policy: the password is breached
}

// A password that somebody is given, to be read out once.
func ExamplePolicy_Generate() {
	rules, err := policy.New(policy.Config{})
	if err != nil {
		log.Fatal(err)
	}
	pw, err := rules.Generate(16)
	fmt.Println(len(pw), err, rules.Check(context.Background(), pw))
	_, err = rules.Generate(12)
	fmt.Println(err)

	// Output:
	// 16 <nil> <nil>
	// policy: Generate: got a length of 12, expected 0 (the default) or 15 to 2048
}
