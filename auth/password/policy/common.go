package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go/data"
)

// commonPasswords returns what is refused as a whole: the passwords, English words, names and surnames of
// zxcvbn that are as long as any policy asks for, 30,000 of them. NIST SP 800-63B-4 section 3.1.1.2 names all of
// these. The data is taken as it lies there: package frequency of that module would unpack it at every start.
var commonPasswords = sync.OnceValues(func() (map[string]struct{}, error) {
	set := map[string]struct{}{}
	for _, name := range []string{"Passwords", "English", "MaleNames", "FemaleNames", "Surnames"} {
		text, err := data.Asset("data/" + name + ".json")
		if err != nil {
			return nil, fmt.Errorf("policy: the list %s: %w", name, err)
		}
		var list struct{ List []string }
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("policy: the list %s: %w", name, err)
		}
		for _, word := range list.List {
			if utf8.RuneCountInString(word) >= floor {
				set[fold(word)] = struct{}{}
			}
		}
	}
	return set, nil
})

func (p *Policy) isCommon(folded string) bool {
	_, found := p.common[folded]
	return found
}

// rows are what fingers and children follow: written three times, so that a run may go over the end.
var rows = func() (all []string) {
	for _, row := range []string{
		"0123456789", "abcdefghijklmnopqrstuvwxyz",
		"qwertyuiopasdfghjklzxcvbnm", "1234567890qwertyuiopasdfghjklzxcvbnm",
		"qwertzuiopasdfghjklyxcvbnm", "1234567890qwertzuiopasdfghjklyxcvbnm",
		"azertyuiopqsdfghjklmwxcvbn", "1234567890azertyuiopqsdfghjklmwxcvbn",
	} {
		all = append(all, row+row+row)
	}
	return all
}()

// isPattern says whether the whole of folded is one part over and over that would be too short by itself, the last time
// perhaps cut, or a run along one of rows in either direction. Passwords that are long only like this lead the
// lists of long ones.
func isPattern(folded string, min int) bool {
	s := []rune(folded)
	if len(s) < floor {
		return false // it is too short, and everything so short is one
	}
	for n := 1; n < min && n <= len(s)/2; n++ {
		if slices.Equal(s[n:], s[:len(s)-n]) {
			return true
		}
	}
	back := slices.Clone(s)
	slices.Reverse(back)
	for _, row := range rows {
		if strings.Contains(row, folded) || strings.Contains(row, string(back)) {
			return true
		}
	}
	return false
}

const (
	maxAbout     = 256 // bytes of a text, and words in all, that are looked at: what a user may call himself has no other bound
	shortWord    = 3   // code points; a shorter part of a name is in everything
	shortForeign = 2   // of other scripts than ASCII, where a name may have two

	besideLetters = 3 // so many make a password more than the words it holds
	besideDigits  = 9 // likewise; a date has 8
)

// wordsOf returns the parts of texts and the texts themselves, folded, the longest first. Numbers are no words.
func wordsOf(texts []string) (words []string) {
	for _, text := range texts {
		text = fold(strings.ToValidUTF8(text[:min(len(text), maxAbout)], ""))
		for _, word := range append(strings.FieldsFunc(text, isSymbol), text) {
			n := utf8.RuneCountInString(word)
			if strings.ContainsFunc(word, unicode.IsLetter) && (n >= shortWord || n >= shortForeign && len(word) > n) {
				words = append(words, word)
			}
		}
	}
	slices.Sort(words)
	words = slices.Compact(words)
	slices.SortStableFunc(words, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return words[:min(len(words), maxAbout)]
}

// madeOf says whether there is next to nothing in folded but words, punctuation and a date's digits. That a word is
// in it is no reason by itself (NIST SP 800-63B-4: the whole password is compared).
func madeOf(folded string, words []string) bool {
	rest := folded
	for _, word := range words {
		rest = strings.ReplaceAll(rest, word, " ")
	}
	letters, digits := 0, 0
	for _, r := range rest {
		switch {
		case unicode.IsLetter(r):
			letters++
		case unicode.IsDigit(r):
			digits++
		}
	}
	return rest != folded && letters < besideLetters && digits < besideDigits
}
