package seal

// SetRandom replaces the source of nonces.
func (s *Sealer) SetRandom(f func([]byte)) { s.s.random = f }

// Nonces returns the function that gives each Seal of text for the place its nonce, without the rest of it.
func (s *Sealer) Nonces(at Place, text string) func() [nonceAt]byte {
	id, keys, err := s.s.key("")
	if err != nil {
		panic(err)
	}
	ad := at.bind(value, "", id)
	return func() [nonceAt]byte { return [nonceAt]byte(s.s.nonce(keys, ad, text)) }
}

// NonceOf returns the nonce of a sealed value.
func NonceOf(sealed string) (nonce [nonceAt]byte) {
	if _, body, err := split(sealed); err == nil {
		copy(nonce[:], body)
	}
	return nonce
}
