package database

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Skew is how far a heartbeat may lie in the future of the clock that reads it: the difference of two clocks.
const Skew = 5 * time.Minute

// A heartbeat before the first or after the last is none: a placeholder (0, the epoch, infinity) or a number of another unit.
var (
	firstBeat = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	lastBeat  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

var (
	// seconds since 1970, as extract(epoch from ...) and UNIX_TIMESTAMP(...) write them.
	unixSeconds = regexp.MustCompile(`^([0-9]{1,11})(?:\.([0-9]{1,9}))?$`)
	// clock is a timestamp as PostgreSQL (DateStyle ISO), MySQL and ISO 8601 write it; the zone may be missing.
	clock = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?) ?(Z|UTC|[+-](?:0[0-9]|1[0-5])(?::?[0-9]{2}(?::[0-9]{2})?)?)?$`)
)

// zones are the layouts of what clock takes as a zone.
var zones = map[int]string{0: "", 3: "-07", 5: "-0700", 6: "-07:00", 9: "-07:00:00"}

// ParseHeartbeat reads a time as either engine answers it, to the nanosecond. A time without a zone is UTC: sessions are opened with the
// time zone UTC, so that it is so for PostgreSQL's timestamptz and MySQL's TIMESTAMP; for columns that know no zone (timestamp, DATETIME)
// the workload must write UTC. A date without a time is no heartbeat.
func ParseHeartbeat(text string) (time.Time, error) {
	text = strings.TrimSpace(text)
	var at time.Time
	if m := unixSeconds.FindStringSubmatch(text); m != nil {
		sec, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return at, err
		}
		ns, err := strconv.ParseInt((m[2] + "000000000")[:9], 10, 64)
		if err != nil {
			return at, err
		}
		at = time.Unix(sec, ns)
	} else if m := clock.FindStringSubmatch(text); m != nil {
		zone := m[3]
		if zone == "Z" || zone == "UTC" {
			zone = ""
		}
		var err error
		if at, err = time.Parse("2006-01-02 15:04:05"+zones[len(zone)], m[1]+" "+m[2]+zone); err != nil {
			return at, errors.New("is not a time of the calendar")
		}
	} else {
		return at, errors.New("is not a time, expected YYYY-MM-DD hh:mm:ss with or without a zone, or seconds since 1970")
	}
	if at = at.UTC(); at.Before(firstBeat) || !at.Before(lastBeat) {
		return time.Time{}, errors.New("is not a time between the years 2000 and 2200")
	}
	return at, nil
}
