package pipehost

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Period is a duration that a configuration has as text with a unit: "90s", "5m", "1h 30m", "2d".
type Period time.Duration

// Nanoseconds are those of the period.
func (p Period) Nanoseconds() int64 { return int64(p) }

func (p Period) String() string { return time.Duration(p).String() }

// JSONSchema is the schema of a setting of this type.
func (Period) JSONSchema() string {
	return `{"type":"string","examples":["90s","5m","1h 30m"]}`
}

// MarshalText writes it with units.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads it.
func (p *Period) UnmarshalText(text []byte) error {
	period, err := parsePeriod(string(text))
	*p = period
	return err
}

// UnmarshalJSON reads it, and says about all that is no text what is wrong with it.
func (p *Period) UnmarshalJSON(value []byte) error {
	var text string
	if err := json.Unmarshal(value, &text); err != nil || string(value) == "null" {
		return fmt.Errorf("%s is not a duration: it is text with a unit, such as \"90s\"", value)
	}
	return p.UnmarshalText([]byte(text))
}

const day = 24 * time.Hour

// Parts with these units are read here: time.ParseDuration knows none above the hour.
var longUnits = []struct {
	name string
	is   time.Duration
}{{"d", day}, {"day", day}, {"days", day}, {"w", 7 * day}, {"week", 7 * day}, {"weeks", 7 * day}}

var unitNames = strings.NewReplacer("hours", "h", "hour", "h", "hr", "h", "minutes", "m", "minute", "m",
	"min", "m", "seconds", "s", "second", "s", "secs", "s", "sec", "s", " ", "")

func parsePeriod(text string) (Period, error) {
	wrong := func() (Period, error) {
		return 0, fmt.Errorf("%q is not a duration, such as \"90s\", \"5m\" or \"1h 30m\"", text)
	}
	var sum time.Duration
	rest := strings.TrimSpace(text)
	for rest != "" {
		digits := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if digits <= 0 {
			return wrong()
		}
		number, after := rest[:digits], strings.TrimLeft(rest[digits:], " ")
		unit := strings.IndexFunc(after, func(r rune) bool { return r == ' ' || r >= '0' && r <= '9' })
		if unit < 0 {
			unit = len(after)
		}
		part, err := parsePart(number, after[:unit])
		if err != nil || sum+part < sum {
			return wrong()
		}
		sum, rest = sum+part, strings.TrimLeft(after[unit:], " ")
	}
	if strings.TrimSpace(text) == "" {
		return wrong()
	}
	return Period(sum), nil
}

func parsePart(number, unit string) (time.Duration, error) {
	for _, long := range longUnits {
		if unit == long.name {
			hours, err := time.ParseDuration(number + "h")
			part := hours * (long.is / time.Hour)
			if err == nil && part/(long.is/time.Hour) != hours {
				err = fmt.Errorf("more than 292 years")
			}
			return part, err
		}
	}
	return time.ParseDuration(number + unitNames.Replace(unit))
}
