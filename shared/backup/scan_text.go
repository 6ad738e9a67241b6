package backup

import "encoding/binary"

// Eight bytes at a time: a word has a byte below n, or equal to c, exactly when these are not zero
// (https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord).
const (
	ones  = ^uint64(0) / 255
	highs = ones * 128
)

func special(w uint64) uint64 {
	quote, slash := w^ones*'"', w^ones*'\\'
	return (w-ones*0x20)&^w&highs | (quote-ones)&^quote&highs | (slash-ones)&^slash&highs
}

// text scans a string and returns it with its quotes.
func (s *scanner) text() ([]byte, bool) {
	start := s.i
	i := s.i + 1
	for i < len(s.d) {
		for i+8 <= len(s.d) && special(binary.LittleEndian.Uint64(s.d[i:])) == 0 {
			i += 8
		}
		if i >= len(s.d) {
			break
		}
		switch c := s.d[i]; {
		case c == '"':
			s.i = i + 1
			return s.d[start:s.i], true
		case c == '\\':
			n := escape(s.d[i:])
			if n == 0 {
				s.i = i
				return nil, false
			}
			i += n
		case c < 0x20:
			s.i = i
			return nil, false
		default:
			i++
		}
	}
	s.i = len(s.d)
	return nil, false
}

// escape is the length of the escape that d begins with, 0 when it is none.
func escape(d []byte) int {
	if len(d) < 2 {
		return 0
	}
	switch d[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(d) < 6 {
			return 0
		}
		for _, c := range d[2:6] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}
