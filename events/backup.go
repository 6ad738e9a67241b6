package events

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// BackupWritten reads "Object Created" of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html) for
// <prefix>/backups/<name>/velero-backup.json, the object by which Velero says how far a backup has come. Velero writes it more than
// once; which phase it says now is read from it, not from the event. Every other object is a no-op.
//
// It is not among Default's parsers: its events go to the function that seals.
type BackupWritten struct {
	// Bucket and Prefix are where Velero's backups are, as in its BackupStorageLocation; the prefix may be empty.
	Bucket, Prefix string
}

// Backup says that Velero wrote a backup's velero-backup.json.
type Backup struct {
	Name   string `json:"name"`
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	// Version of the object; empty where the bucket keeps none.
	Version string    `json:"version,omitempty"`
	At      time.Time `json:"at"`
}

func (Backup) event() {}

// Source is, with DetailType, what the parser is registered by.
func (BackupWritten) Source() string { return "aws.s3" }

// DetailType is the event's kind within its source.
func (BackupWritten) DetailType() string { return "Object Created" }

// backupKey is the end of the key: names are those of Kubernetes objects
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names).
var backupKey = regexp.MustCompile(`^backups/([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)/velero-backup\.json$`)

// Parse returns a Backup or a NoOp.
func (p BackupWritten) Parse(in Input) (Event, error) {
	var bad Mistakes
	o := newObject("", in.Raw, &bad)
	id := o.text("id", "the event's ID")
	at := o.time("time", wantRFC3339, time.RFC3339)
	d := o.object("detail")
	if d.fields == nil {
		return nil, bad
	}
	b := Backup{At: at}
	if bucket := d.object("bucket"); bucket.fields != nil {
		b.Bucket = bucket.text("name", "the bucket's name")
	}
	if object := d.object("object"); object.fields != nil {
		b.Key = object.text("key", "the object's key")
		b.Version, _ = object.optional("version-id", "the object's version")
	}
	if len(bad) > 0 {
		return nil, bad
	}
	noop := func(format string, args ...any) (Event, error) {
		return NoOp{Source: p.Source(), DetailType: p.DetailType(), ID: id, Reason: fmt.Sprintf(format, args...)}, nil
	}
	if b.Bucket != p.Bucket {
		return noop("bucket %s is not the backups' bucket %s", b.Bucket, p.Bucket)
	}
	rest, prefix := b.Key, p.Prefix
	if prefix != "" {
		prefix += "/"
	}
	rest, ok := strings.CutPrefix(rest, prefix)
	m := backupKey.FindStringSubmatch(rest)
	if !ok || m == nil {
		return noop("%s is not %sbackups/<name>/velero-backup.json", clip(b.Key), prefix)
	}
	b.Name = m[1]
	return b, nil
}
