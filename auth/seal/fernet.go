package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// A FernetKey opens values of an older system that used Fernet (github.com/fernet/spec, version 0x80), as
// Python's cryptography writes them. It is masked however it is printed.
//
// Nothing of the kit makes such values: Fernet binds them to no place, and is AES-128 in CBC mode.
type FernetKey struct{ k *fernetKey }

// fernetKey has its bytes behind a pointer for the reason that key has: the first half signs, the second encrypts.
type fernetKey struct{ bytes *[32]byte }

// fernet64 is base64url with padding, as the specification has it.
var fernet64 = base64.URLEncoding.Strict()

const (
	fernetVersion = 0x80
	fernetHead    = 1 + 8 + aes.BlockSize                    // version, time, IV
	fernetLeast   = fernetHead + aes.BlockSize + sha256.Size // padding makes one block of nothing
	fernetMost    = fernetLeast + MaxBytes                   // bytes
	fernetSkew    = 60 * time.Second                         // how far ahead a clock may be, where age counts at all
)

// ParseFernetKey reads a key as Fernet.generate_key() writes it: 44 characters of base64url. The error does
// not quote it.
func ParseFernetKey(text string) (FernetKey, error) {
	b, err := decode(fernet64, text)
	if err != nil || len(b) != 32 {
		return FernetKey{}, errors.New("seal: no Fernet key: expected 32 bytes in base64url, which are 44 characters, the last one =")
	}
	return FernetKey{&fernetKey{(*[32]byte)(b)}}, nil
}

// Format masks the key under every verb of package fmt.
func (k FernetKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[key]") }

// MarshalText masks the key in JSON and every other encoding.
func (k FernetKey) MarshalText() ([]byte, error) { return []byte("[key]"), nil }

// LogValue masks the key in package slog.
func (k FernetKey) LogValue() slog.Value { return slog.StringValue("[key]") }

// fernetForm decodes a value and checks what can be seen without a key.
func fernetForm(text string) ([]byte, error) {
	if len(text) > fernet64.EncodedLen(fernetMost) {
		return nil, ErrOpen
	}
	b, err := decode(fernet64, text)
	if err != nil || len(b) < fernetLeast || b[0] != fernetVersion || (len(b)-fernetLeast)%aes.BlockSize != 0 {
		return nil, ErrOpen
	}
	return b, nil
}

// openFernet returns the text under the first key that made it. The MAC comes before everything that the
// text could influence: with another order an error would tell about the padding (ASVS V11.2.5).
func (s *sealer) openFernet(text string) (string, error) {
	b, err := fernetForm(text)
	if err != nil {
		return "", err
	}
	signed, shown := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	for _, k := range s.fernet {
		h := hmac.New(sha256.New, k.k.bytes[:16])
		h.Write(signed)
		if !hmac.Equal(h.Sum(nil), shown) {
			continue
		}
		if !s.inTime(binary.BigEndian.Uint64(b[1:])) {
			return "", ErrOpen
		}
		return k.k.decrypt(signed)
	}
	return "", ErrOpen
}

// inTime judges the time that stands in a value, in seconds since 1970, as Python's cryptography does. One that
// overflows is long past.
func (s *sealer) inTime(seconds uint64) bool {
	if s.maxAge == 0 {
		return true
	}
	made, now := time.Unix(int64(seconds), 0), s.now().Truncate(time.Second)
	return !now.After(made.Add(s.maxAge)) && !made.After(now.Add(fernetSkew))
}

// decrypt takes what the MAC covers, which is authentic.
func (k *fernetKey) decrypt(signed []byte) (string, error) {
	block, err := aes.NewCipher(k.bytes[16:])
	if err != nil {
		return "", fmt.Errorf("seal: Fernet: %w", err)
	}
	iv, body := signed[fernetHead-aes.BlockSize:fernetHead], signed[fernetHead:]
	plain := make([]byte, len(body))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, body)
	// PKCS #7 (RFC 5652 section 6.3): n bytes of the value n.
	n := int(plain[len(plain)-1])
	if n < 1 || n > aes.BlockSize || len(plain)-n > MaxBytes {
		return "", ErrOpen
	}
	for _, c := range plain[len(plain)-n:] {
		if int(c) != n {
			return "", ErrOpen
		}
	}
	return string(plain[:len(plain)-n]), nil
}
