package code

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"

	"filippo.io/edwards25519"
)

// together is from how many codes on it is cheaper to verify them at once.
const together = 4

// Verify reports for each of some codes whether the key has signed it. Many are verified at once, each for a third of
// what one costs alone; if one of them is not good, all are verified alone.
func Verify(key ed25519.PublicKey, codes []Signed) []bool {
	good := make([]bool, len(codes))
	if len(key) != ed25519.PublicKeySize {
		return good
	}
	all := len(codes) >= together && verifyTogether(key, codes)
	for i, c := range codes {
		good[i] = all || len(c.Signature) == ed25519.SignatureSize && ed25519.Verify(key, c.Body, c.Signature)
	}
	return good
}

// verifyTogether reports whether a key A has signed all codes. A signature (R, s) is good if sB = R + kA, where k is
// the hash of R, A and the body. The sum of these equations, each times a number z that nobody can foresee, holds for
// signatures of which one is not good with a probability of 2^-128:
//
//	8(Σzs)B = 8(ΣzR + (Σzk)A)
//
// The factor 8, as RFC 8032 allows it, lets signatures pass that are good but for a point of small order. Those can
// only be made with the private key.
func verifyTogether(key ed25519.PublicKey, codes []Signed) bool {
	a, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return false
	}
	const half = 16 // bytes of z
	random := make([]byte, half*len(codes))
	rand.Read(random) // never fails, by its documentation
	points := make([]*edwards25519.Point, 0, len(codes)+2)
	factors := make([]*edwards25519.Scalar, 0, len(codes)+2)
	zs, zk := edwards25519.NewScalar(), edwards25519.NewScalar()
	for i, c := range codes {
		if len(c.Signature) != ed25519.SignatureSize {
			return false
		}
		r, err1 := new(edwards25519.Point).SetBytes(c.Signature[:32])
		s, err2 := edwards25519.NewScalar().SetCanonicalBytes(c.Signature[32:])
		if err1 != nil || err2 != nil {
			return false
		}
		hash := sha512.New()
		hash.Write(c.Signature[:32])
		hash.Write(key)
		hash.Write(c.Body)
		k, err1 := edwards25519.NewScalar().SetUniformBytes(hash.Sum(nil))
		z, err2 := edwards25519.NewScalar().SetCanonicalBytes(append(random[half*i:half*(i+1):half*(i+1)],
			make([]byte, half)...))
		if err1 != nil || err2 != nil {
			return false
		}
		zs.MultiplyAdd(z, s, zs)
		zk.MultiplyAdd(z, k, zk)
		points, factors = append(points, r), append(factors, z)
	}
	points = append(points, a, edwards25519.NewGeneratorPoint())
	factors = append(factors, zk, zs.Negate(zs))
	sum := new(edwards25519.Point).VarTimeMultiScalarMult(factors, points)
	return sum.MultByCofactor(sum).Equal(edwards25519.NewIdentityPoint()) == 1
}
