package options

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// The units of a time, the largest first: each may occur once, in this order.
var timeUnits = []struct {
	name string
	unit time.Duration
}{
	{"y", 365 * 24 * time.Hour},
	{"M", 30 * 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
}

// ParseDuration reads a time as nginx writes it: 500ms, 5s, 1h30m, "1h 30m"; a number alone is seconds.
func ParseDuration(text string) (time.Duration, bool) {
	var sum time.Duration
	units := timeUnits
	for first := true; first || text != ""; first = false {
		digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
		n, err := strconv.ParseInt(text[:digits], 10, 64)
		if err != nil {
			return 0, false
		}
		text = text[digits:]
		end := strings.IndexAny(text, "0123456789 ")
		if end < 0 {
			end = len(text)
		}
		name := text[:end]
		if name == "" && strings.TrimLeft(text, " ") == "" {
			name = "s"
		}
		at := -1
		for i, u := range units {
			if u.name == name {
				at = i
				break
			}
		}
		if at < 0 || n > (math.MaxInt64-int64(sum))/int64(units[at].unit) {
			return 0, false
		}
		sum += time.Duration(n) * units[at].unit
		units = units[at+1:]
		text = strings.TrimLeft(text[end:], " ")
	}
	return sum, true
}

// ParseSize reads a size as nginx writes it: 1024, 64k, 1m, 1g.
func ParseSize(text string) (int64, bool) {
	unit := int64(1)
	if text != "" {
		switch text[len(text)-1] {
		case 'k', 'K':
			unit = 1 << 10
		case 'm', 'M':
			unit = 1 << 20
		case 'g', 'G':
			unit = 1 << 30
		}
	}
	if unit > 1 {
		text = text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || text[0] == '+' || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}
