package tokens

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A jwk is a JSON Web Key (RFC 7517 section 4) with the parameters of RFC 7518 section 6 and RFC 8037
// section 2. Members that it does not name are ignored, as RFC 7517 section 4 demands.
type jwk struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid,omitzero"`
	Alg    string   `json:"alg,omitzero"`
	Use    string   `json:"use,omitzero"`
	KeyOps []string `json:"key_ops,omitzero"`

	Crv string `json:"crv,omitzero"`
	X   string `json:"x,omitzero"`
	Y   string `json:"y,omitzero"`
	N   string `json:"n,omitzero"`
	E   string `json:"e,omitzero"`

	D   string         `json:"d,omitzero"`
	P   string         `json:"p,omitzero"`
	Q   string         `json:"q,omitzero"`
	DP  string         `json:"dp,omitzero"`
	DQ  string         `json:"dq,omitzero"`
	QI  string         `json:"qi,omitzero"`
	Oth jsontext.Value `json:"oth,omitzero"`
	K   string         `json:"k,omitzero"`
}

// decodeJWKs reads a JWK set or a single JWK. Duplicate member names, invalid UTF-8 and anything after
// the value are refused. Its errors don't wrap those of the decoder, which quote values.
func decodeJWKs(text []byte) ([]jwk, error) {
	var set struct {
		Keys []jwk  `json:"keys"`
		Kty  string `json:"kty"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, notStrict(err)
	}
	switch {
	case set.Keys != nil && set.Kty == "":
		return set.Keys, nil
	case set.Keys != nil || set.Kty == "":
		return nil, errors.New("got JSON that is neither a JWK (kty) nor a JWK set (keys)")
	}
	var one jwk
	if err := json.Unmarshal(text, &one); err != nil {
		return nil, notStrict(err)
	}
	return []jwk{one}, nil
}

func notStrict(err error) error {
	var at int64
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.ByteOffset
	} else if e, ok := errors.AsType[*json.SemanticError](err); ok {
		at = e.ByteOffset
	}
	return fmt.Errorf("got something else than the strict JSON of a JWK or a JWK set (byte %d)", at)
}

// signs says whether the key is for signatures at all (RFC 7517 sections 4.2 and 4.3).
func (j *jwk) signs() bool {
	if j.Use != "" && j.Use != "sig" {
		return false
	}
	return j.KeyOps == nil || slices.Contains(j.KeyOps, "sign") || slices.Contains(j.KeyOps, "verify")
}

// secret says whether the key holds what must not be published.
func (j *jwk) secret() bool {
	return j.Kty == "oct" || j.K != "" || j.D != "" || j.P != "" || j.Q != "" || j.DP != "" || j.DQ != "" || j.QI != "" || j.Oth != nil
}

// candidates lists the algorithms that a key of this type and curve can have.
func (j *jwk) candidates() []string {
	switch [2]string{j.Kty, j.Crv} {
	case [2]string{"OKP", "Ed25519"}:
		return []string{algEdDSA}
	case [2]string{"EC", "P-256"}:
		return []string{algES256}
	case [2]string{"EC", "P-384"}:
		return []string{algES384}
	case [2]string{"RSA", ""}:
		return []string{algRS256, algPS256}
	case [2]string{"oct", ""}:
		return []string{algHS256, algHS384, algHS512}
	}
	return nil
}

// algorithm binds the key to one algorithm, one of the allowed: its own alg, or the only one that fits.
func (j *jwk) algorithm(allowed []string) (string, error) {
	fit := j.candidates()
	if fit == nil {
		return "", fmt.Errorf("got a key of type %.16q, curve %.16q, expected OKP Ed25519, EC P-256 or P-384, RSA or oct", j.Kty, j.Crv)
	}
	if j.Alg != "" {
		if !slices.Contains(fit, j.Alg) {
			return "", fmt.Errorf("got alg %.16q, which does not fit a key of type %s", j.Alg, j.Kty)
		}
		fit = []string{j.Alg}
	} else if j.Kty == "oct" {
		fit = fit[:1]
	}
	fit = slices.DeleteFunc(slices.Clone(fit), func(alg string) bool { return !slices.Contains(allowed, alg) })
	switch len(fit) {
	case 0:
		return "", fmt.Errorf("got a key for %s, which was not asked for: name its algorithm to allow it", strings.Join(j.candidates(), " or "))
	case 1:
		return fit[0], nil
	}
	return "", fmt.Errorf("got an RSA key without alg, for %s: name one of them only", strings.Join(fit, " or "))
}

// material decodes the key itself, the private part where there is one.
func (j *jwk) material() (any, error) {
	r := &reader{}
	var m any
	var err error
	switch j.Kty {
	case "oct":
		m = r.bytes(j.K, 0)
	case "OKP":
		m, err = j.ed25519(r)
	case "EC":
		m, err = j.ecdsa(r)
	case "RSA":
		m, err = j.rsa(r)
	}
	if r.bad || err != nil {
		return nil, fmt.Errorf("got a key of type %s whose members are missing, malformed or do not belong together", j.Kty)
	}
	return m, nil
}

func (j *jwk) ed25519(r *reader) (any, error) {
	public := ed25519.PublicKey(r.bytes(j.X, ed25519.PublicKeySize))
	if j.D == "" {
		return public, nil
	}
	return ed25519.PrivateKey(slices.Concat(r.bytes(j.D, ed25519.SeedSize), public)), nil
}

func (j *jwk) ecdsa(r *reader) (any, error) {
	curve, size := elliptic.P256(), 32
	if j.Crv == "P-384" {
		curve, size = elliptic.P384(), 48
	}
	// Coordinates have the full length, leading zeros included (RFC 7518 section 6.2.1.2).
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, r.bytes(j.X, size), r.bytes(j.Y, size)))
	if err != nil || j.D == "" {
		return public, err
	}
	private, err := ecdsa.ParseRawPrivateKey(curve, r.bytes(j.D, size))
	if err != nil {
		return nil, err
	}
	private.PublicKey = *public // newKey compares the two halves
	return private, nil
}

func (j *jwk) rsa(r *reader) (any, error) {
	e := r.number(j.E)
	if !e.IsInt64() || e.Int64() > 1<<31-1 {
		return nil, errors.New("exponent")
	}
	public := &rsa.PublicKey{N: r.number(j.N), E: int(e.Int64())}
	if !j.secret() {
		return public, nil
	}
	if j.Oth != nil {
		return nil, errors.New("more than two primes")
	}
	private := &rsa.PrivateKey{PublicKey: *public, D: r.number(j.D), Primes: []*big.Int{r.number(j.P), r.number(j.Q)}}
	return private, nil
}

// A reader decodes members and remembers whether one was malformed.
type reader struct{ bad bool }

// bytes decodes canonical base64url without padding; size 0 means any but none.
func (r *reader) bytes(s string, size int) []byte {
	b, err := b64.DecodeString(s)
	// Go's decoder skips line ends even when it is strict.
	if err != nil || strings.ContainsAny(s, "\r\n") || len(b) == 0 || size != 0 && len(b) != size {
		r.bad = true
	}
	return b
}

// number decodes a Base64urlUInt: no leading zero bytes (RFC 7518 section 2).
func (r *reader) number(s string) *big.Int {
	if len(s) > maxRSABits/6+2 {
		r.bad = true
		return new(big.Int)
	}
	b := r.bytes(s, 0)
	if len(b) > 0 && b[0] == 0 {
		r.bad = true
	}
	return new(big.Int).SetBytes(b)
}

// publicJWK is the key as the world may see it. The key must be an asymmetric one.
func (k *key) publicJWK() jwk {
	j := jwk{Kid: k.id, Alg: k.alg, Use: "sig"}
	switch p := k.public.(type) {
	case ed25519.PublicKey:
		j.Kty, j.Crv, j.X = "OKP", "Ed25519", b64.EncodeToString(p)
	case *ecdsa.PublicKey:
		point, _ := p.Bytes() // checked when the key was made
		size := (len(point) - 1) / 2
		j.Kty, j.Crv, j.X, j.Y = "EC", p.Curve.Params().Name, b64.EncodeToString(point[1:1+size]), b64.EncodeToString(point[1+size:])
	case *rsa.PublicKey:
		j.Kty, j.N, j.E = "RSA", b64.EncodeToString(p.N.Bytes()), b64.EncodeToString(big.NewInt(int64(p.E)).Bytes())
	}
	return j
}

// privateJWK is the key with its secret parts.
func (k *key) privateJWK() (jwk, error) {
	if k.root != nil {
		return jwk{}, fmt.Errorf("tokens: key %q: a root has no form but the secret it was made from; keep that", k.id)
	}
	j := k.publicJWK()
	switch p := k.private.(type) {
	case nil:
	case []byte:
		j.Kty, j.K = "oct", b64.EncodeToString(p)
	case ed25519.PrivateKey:
		j.D = b64.EncodeToString(p.Seed())
	case *ecdsa.PrivateKey:
		d, err := p.Bytes()
		if err != nil {
			return jwk{}, fmt.Errorf("tokens: key %q: not a key of its curve", k.id)
		}
		j.D = b64.EncodeToString(d)
	case *rsa.PrivateKey:
		j.D, j.P, j.Q = b64.EncodeToString(p.D.Bytes()), b64.EncodeToString(p.Primes[0].Bytes()), b64.EncodeToString(p.Primes[1].Bytes())
		j.DP, j.DQ, j.QI = b64.EncodeToString(p.Precomputed.Dp.Bytes()), b64.EncodeToString(p.Precomputed.Dq.Bytes()), b64.EncodeToString(p.Precomputed.Qinv.Bytes())
	default:
		return jwk{}, fmt.Errorf("tokens: key %q: its private part is elsewhere (%T) and cannot be exported", k.id, p)
	}
	return j, nil
}

// thumbprint is the first half of the RFC 7638 thumbprint: 128 bits name a key well enough, and every
// token carries them.
func (k *key) thumbprint() string {
	j := k.publicJWK()
	// Only the required members, in the order of their names (RFC 7638 section 3.2).
	j = jwk{Kty: j.Kty, Crv: j.Crv, X: j.X, Y: j.Y, N: j.N, E: j.E}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range [][2]string{{"crv", j.Crv}, {"e", j.E}, {"kty", j.Kty}, {"n", j.N}, {"x", j.X}, {"y", j.Y}} {
		if m[1] == "" {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%q", m[0], m[1])
	}
	b.WriteByte('}')
	sum := sha256.Sum256(b.Bytes())
	return b64.EncodeToString(sum[:16])
}
