package policy

// Listed says how many common passwords are known.
func (p *Policy) Listed() int { return len(p.common) }
