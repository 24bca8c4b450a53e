package seal

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// SealMap seals each value of m for the place and its own name, which stays readable. A value opens under
// no other name. That one is missing, or older, is not seen (but see [Place].Version).
func (s *Sealer) SealMap(at Place, m map[string]string) (map[string]string, error) {
	return each(m, func(name, text string) (string, error) { return s.seal(entry, name, at, text) })
}

// OpenMap opens what SealMap made, or a map of Fernet values, and says whether the caller should store a
// new SealMap of it. One value that does not open is an error for all; it names the entry.
func (s *Sealer) OpenMap(at Place, m map[string]string) (texts map[string]string, stale bool, err error) {
	texts, err = each(m, func(name, sealed string) (string, error) {
		text, old, err := s.open(entry, name, at, sealed)
		stale = stale || old
		return text, err
	})
	return texts, stale && err == nil, err
}

// ResealMap returns the map with each value under the current key, and whether any has changed. m stays as it is.
func (s *Sealer) ResealMap(at Place, m map[string]string) (fresh map[string]string, changed bool, err error) {
	fresh, err = each(m, func(name, sealed string) (string, error) {
		text, anew, err := s.reseal(entry, name, at, sealed)
		changed = changed || anew
		return text, err
	})
	return fresh, changed && err == nil, err
}

func each(m map[string]string, f func(name, text string) (string, error)) (map[string]string, error) {
	if m == nil {
		return nil, nil
	}
	out := make(map[string]string, len(m))
	for name, text := range m {
		var err error
		if out[name], err = f(name, text); err != nil {
			return nil, fmt.Errorf("seal: the entry %.64q: %w", name, err)
		}
	}
	return out, nil
}

// A Row is a stored value, as [Sealer.ResealAll] goes through them.
type Row struct {
	ID     string // whatever names the row to the caller; it stands in errors
	Place  Place
	Sealed string
}

// A Tally counts rows. An older key may be removed when Left is 0 and no error was returned.
type Tally struct {
	Current  int // were under the current key already
	Resealed int // are under it now
	Left     int // are not: they did not open, or were not replaced
}

// maxReasons bounds the error of a table in which every row is wrong.
const maxReasons = 10

// ResealAll brings all rows under the current key, for a job that runs before a key is removed, and counts.
//
// replace stores fresh where row.Sealed still stands, and only there (compare-and-swap), so that no newer
// value is overwritten; it says whether it did. With a nil replace nothing is written, and Left counts what
// would be lost with the other keys.
//
// A row that fails is counted as left, and the next one comes; the error tells the first ten reasons. An error
// of rows, and the end of ctx, stop it: the tally is of what was seen until then.
func (s *Sealer) ResealAll(ctx context.Context, rows iter.Seq2[Row, error], replace func(ctx context.Context, row Row, fresh string) (replaced bool, err error)) (Tally, error) {
	var t Tally
	var reasons []error
	for row, err := range rows {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return t, errors.Join(append(reasons, fmt.Errorf("seal: the rows ended early: %w", err))...)
		}
		switch fresh, changed, err := s.Reseal(row.Place, row.Sealed); {
		case err == nil && !changed:
			t.Current++
			continue
		case err != nil:
			reasons = because(reasons, row, err)
		case replace != nil:
			replaced, err := replace(ctx, row, fresh)
			if err == nil && replaced {
				t.Resealed++
				continue
			}
			if err != nil {
				reasons = because(reasons, row, err)
			}
		}
		t.Left++
	}
	return t, errors.Join(reasons...)
}

func because(reasons []error, row Row, err error) []error {
	if len(reasons) < maxReasons {
		reasons = append(reasons, fmt.Errorf("seal: the row %.64q: %w", row.ID, err))
	}
	return reasons
}
