package vatid

import "strings"

// number returns the number that digits are.
func number(digits string) (n int) {
	for _, d := range digits {
		n = 10*n + int(d-'0')
	}
	return n
}

// weighted returns the sum of digits, each with its weight.
func weighted(digits string, weights ...int) (sum int) {
	for i, w := range weights {
		sum += w * int(digits[i]-'0')
	}
	return sum
}

// ends reports whether the last digit is the one.
func ends(digits string, with int) bool { return int(digits[len(digits)-1]-'0') == with }

// sums is the check of countries whose weighted sum is divisible.
func sums(by int, weights ...int) func(string) bool {
	return func(s string) bool { return weighted(s, weights...)%by == 0 }
}

// luhn is ISO/IEC 7812: every second digit from the right counts twice, by the sum of its digits.
func luhn(s string) bool {
	sum := 0
	for i := range s {
		d := int(s[len(s)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// mod1110 is ISO/IEC 7064, mod 11,10: of Germany and Croatia.
func mod1110(s string) bool {
	p := 10
	for _, d := range s[:len(s)-1] {
		sum := (int(d-'0') + p) % 10
		if sum == 0 {
			sum = 10
		}
		p = 2 * sum % 11
	}
	return ends(s, (11-p)%10)
}

func austria(s string) bool {
	sum := 4
	for i, d := range s[1:8] {
		n := int(d-'0') * (1 + i%2)
		sum += n/10 + n%10
	}
	return ends(s, (100-sum)%10)
}

func belgium(s string) bool { return 97-number(s[:8])%97 == number(s[8:]) }

// bulgaria has companies with nine digits, and people and others with ten.
func bulgaria(s string) bool {
	if len(s) == 9 {
		c := weighted(s, 1, 2, 3, 4, 5, 6, 7, 8) % 11
		if c == 10 {
			c = weighted(s, 3, 4, 5, 6, 7, 8, 9, 10) % 11 % 10
		}
		return ends(s, c)
	}
	other := 11 - weighted(s, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11
	return ends(s, weighted(s, 2, 4, 8, 5, 10, 9, 7, 3, 6)%11%10) ||
		ends(s, weighted(s, 21, 19, 17, 13, 11, 9, 7, 3, 1)%10) || other != 10 && ends(s, other%11)
}

func switzerland(s string) bool {
	return ends(s[:10], (11-weighted(s[1:], 5, 4, 3, 2, 7, 6, 5, 4)%11)%11)
}

func cyprus(s string) bool {
	odd, sum := [...]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21}, 0
	for i, d := range s[:8] {
		if n := int(d - '0'); i%2 == 0 {
			sum += odd[n]
		} else {
			sum += n
		}
	}
	return s[8] == byte('A'+sum%26) && !strings.HasPrefix(s, "12")
}

// czechia has companies with eight digits, and people by the number of their birth. Those before 1954 have no check
// digit.
func czechia(s string) bool {
	switch {
	case len(s) == 8:
		c := 11 - weighted(s, 8, 7, 6, 5, 4, 3, 2)%11
		if c == 11 {
			c = 1
		} else if c == 10 {
			c = 0
		}
		return s[0] != '9' && ends(s, c)
	case len(s) == 9 && s[0] == '6':
		c := weighted(s[1:], 8, 7, 6, 5, 4, 3, 2) % 11
		return ends(s, (18-(10-c+11)%11)%10)
	case len(s) == 9:
		return number(s[:2]) < 54
	}
	return ends(s, number(s[:9])%11%10)
}

func greece(s string) bool { return ends(s, weighted(s, 256, 128, 64, 32, 16, 8, 4, 2)%11%10) }

// spain has people with a letter after a number, foreigners with one before it, too, and companies by a letter for
// their kind.
func spain(s string) bool {
	const letters = "TRWAGMYFPDXBNJZSQVHLCKE"
	digits := s[:8]
	switch first := s[0]; {
	case first >= '0' && first <= '9':
	case first >= 'X':
		digits = string(rune('0'+first-'X')) + s[1:8]
	case strings.ContainsRune("KLM", rune(first)):
		digits = s[1:8]
	default:
		return spanishCompany(s)
	}
	return s[8] == letters[number(digits)%23]
}

func spanishCompany(s string) bool {
	c := 0
	for ; c < 10 && !luhn(s[1:8]+string(rune('0'+c))); c++ {
	}
	digit, letter := s[8] == byte('0'+c), s[8] == "JABCDEFGHI"[c]
	switch kind := rune(s[0]); {
	case strings.ContainsRune("ABEH", kind):
		return digit
	case strings.ContainsRune("NPQSW", kind):
		return letter
	case strings.ContainsRune("CDFGJRUV", kind):
		return digit || letter
	}
	return false
}

// france has two characters before the number of the company, which of Monaco is none of France.
func france(s string) bool {
	const letters = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
	siren := s[2:]
	if !luhn(siren) && !strings.HasPrefix(siren, "000") {
		return false
	}
	a, b := strings.IndexByte(letters, s[0]), strings.IndexByte(letters, s[1])
	switch {
	case a < 10 && b < 10:
		return number(siren+"12")%97 == 10*a+b
	case a < 10:
		a = a*24 + b - 10
	default:
		a = a*34 + b - 100
	}
	return (number(siren)+1+a/11)%11 == a%11
}

// britain has two sums for its numbers, and none for its government and health authorities.
func britain(s string) bool {
	switch s[:2] {
	case "GD":
		return number(s[2:]) < 500
	case "HA":
		return number(s[2:]) >= 500
	}
	c := weighted(s, 8, 7, 6, 5, 4, 3, 2, 10, 1) % 97
	return c == 0 || number(s[:3]) >= 100 && (c == 42 || c == 55)
}

func ireland(s string) bool {
	const letters = "WABCDEFGHIJKLMNOPQRSTUV"
	digits, sum := s[:7], 0
	if s[1] < '0' || s[1] > '9' { // as they were until 2013
		digits = "0" + s[2:7] + s[:1]
	}
	if len(s) == 9 {
		sum = 9 * strings.IndexByte(letters, s[8])
	}
	return s[7] == letters[(sum+weighted(digits, 8, 7, 6, 5, 4, 3, 2))%23]
}

func lithuania(s string) bool {
	if s[len(s)-2] != '1' {
		return false
	}
	sum := func(from int) (n int) {
		for i, d := range s[:len(s)-1] {
			n += (1 + (i+from)%9) * int(d-'0')
		}
		return n % 11
	}
	c := sum(0)
	if c == 10 {
		c = sum(2) % 10
	}
	return ends(s, c)
}

func luxembourg(s string) bool { return number(s[:6])%89 == number(s[6:]) }

// latvia has companies by a first digit above three. Of people the newer numbers have no check digit.
func latvia(s string) bool {
	switch {
	case s[0] > '3':
		return weighted(s, 9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1)%11 == 3
	case s[:2] == "32":
		return true
	}
	return ends(s, (1+weighted(s, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9))%11%10)
}

// netherlands has two checks: that of the number of a person or company, and since 2020 one over all of it.
func netherlands(s string) bool {
	bsn := !strings.ContainsFunc(s[:9], func(r rune) bool { return r < '0' || r > '9' })
	if bsn && weighted(s, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0 {
		return true
	}
	rest := 0
	for _, r := range "NL" + s {
		n := strings.IndexRune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+*", r)
		if n > 9 {
			rest *= 10
		}
		rest = (10*rest + n) % 97
	}
	return rest == 1
}

func norway(s string) bool { return ends(s[:9], (11-weighted(s, 3, 2, 7, 6, 5, 4, 3, 2)%11)%11) }

func portugal(s string) bool { return ends(s, (11-weighted(s, 9, 8, 7, 6, 5, 4, 3, 2)%11)%11%10) }

func romania(s string) bool {
	padded := strings.Repeat("0", 10-len(s)) + s
	return ends(s, 10*weighted(padded, 7, 5, 3, 2, 1, 7, 5, 3, 2)%11%10)
}

func slovenia(s string) bool {
	c := 11 - weighted(s, 8, 7, 6, 5, 4, 3, 2)%11
	return ends(s, c%10) && c != 11
}
