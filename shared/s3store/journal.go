package s3store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/shared/journal"
)

// Journals is a journal.Store in S3: one object a record, each written once and never changed.
//
//	runs/<run ID>/journal/000001-intent.json    the first change, before it is made
//	runs/<run ID>/journal/000001-done.json      how it ended
//	runs/<run ID>/journal/000001-undone.json    how it was compensated
//	runs/<run ID>/journal/000001-undone-2.json  how the next try was; the last one counts
//
// Every write is conditional (If-None-Match), so two writers never take one number: the second takes the next. S3 answers a
// write only when it is stored, and whoever lists after that sees it
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel).
type Journals struct {
	S3     S3
	Bucket string

	mu   sync.Mutex
	open map[string]*s3Journal
}

const (
	journalDir = "journal"
	// maxRecord bounds a record, which holds an object of at most 1.5 MiB (etcd's limit) up to twice.
	maxRecord = 8 << 20
	// readers is how many records are read at a time.
	readers = 8
	// maxTries bounds the search for a free number.
	maxTries = 1000
)

// Open returns the run's journal, the same one for the same run: what was read once is kept. Nothing is written.
func (s *Journals) Open(_ context.Context, runID string) (journal.Journal, error) {
	dir, err := runKey(runID, journalDir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j, ok := s.open[runID]; ok {
		return j, nil
	}
	if s.open == nil {
		s.open = map[string]*s3Journal{}
	}
	j := &s3Journal{s3: s.S3, bucket: s.Bucket, dir: dir, writer: rand.Text(), read: map[string]record{}}
	s.open[runID] = j
	return j, nil
}

type record struct {
	// Writer tells a writer's own record, whose answer was lost, from another writer's.
	Writer string          `json:"writer"`
	Intent *journal.Intent `json:"intent,omitempty"`
	Done   *journal.Done   `json:"done,omitempty"`
	Undone *journal.Undone `json:"undone,omitempty"`
}

type s3Journal struct {
	s3          S3
	bucket, dir string
	writer      string

	// write orders this process's intents; mu guards the rest.
	write sync.Mutex
	// last is the greatest number that is taken, as far as is known; it is looked up when known is false.
	last  int
	known bool

	mu sync.Mutex
	// read holds the records by key: they never change.
	read map[string]record
}

// Intend writes the intent down under the next free number.
func (j *s3Journal) Intend(ctx context.Context, i journal.Intent) (int, error) {
	j.write.Lock()
	defer j.write.Unlock()
	for range maxTries {
		if !j.known {
			if err := j.find(ctx); err != nil {
				return 0, err
			}
		}
		i.Seq = j.last + 1
		err := j.put(ctx, name{i.Seq, kindIntent, 1}, record{Writer: j.writer, Intent: &i})
		if err == nil {
			j.last = i.Seq
			return i.Seq, nil
		}
		if !errors.Is(err, errTaken) {
			return 0, err
		}
		j.known = false // another function wrote since
	}
	return 0, fmt.Errorf("%s: %d numbers in a row were taken by other writers", j.dir, maxTries)
}

// find looks the greatest number up.
func (j *s3Journal) find(ctx context.Context) error {
	names, err := j.list(ctx)
	if err != nil {
		return err
	}
	for _, n := range names {
		j.last = max(j.last, n.seq)
	}
	j.known = true
	return nil
}

func (j *s3Journal) Done(ctx context.Context, d journal.Done) error {
	return j.next(ctx, d.Seq, kindDone, record{Writer: j.writer, Done: &d})
}

func (j *s3Journal) Undone(ctx context.Context, u journal.Undone) error {
	return j.next(ctx, u.Seq, kindUndone, record{Writer: j.writer, Undone: &u})
}

// next writes what became of an intent, behind what was written of it before.
func (j *s3Journal) next(ctx context.Context, seq int, k kind, r record) error {
	for n := range maxTries {
		if err := j.put(ctx, name{seq, k, n + 1}, r); !errors.Is(err, errTaken) {
			return err
		}
	}
	return fmt.Errorf("%s: intent %d has %d records of the kind %s", j.dir, seq, maxTries, k)
}

// put writes a record. errTaken means that the name is another record's.
func (j *s3Journal) put(ctx context.Context, n name, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	l := location{j.bucket, path.Join(j.dir, n.String())}
	err = create(ctx, j.s3, l, b, "application/json")
	if !errors.Is(err, errTaken) {
		return err
	}
	have, rerr := get(ctx, j.s3, l, maxRecord)
	if rerr != nil {
		return rerr
	}
	if bytes.Equal(have, b) { // ours: the answer to the first try was lost and the client tried again
		return nil
	}
	return errTaken
}

// Entries reads the whole journal.
func (j *s3Journal) Entries(ctx context.Context) ([]journal.Entry, error) {
	names, err := j.list(ctx)
	if err != nil {
		return nil, err
	}
	records, err := j.records(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []journal.Entry
	for i, n := range names {
		r := records[i]
		if n.kind == kindIntent {
			if n.seq != len(out)+1 || r.Intent == nil || r.Intent.Seq != n.seq {
				return nil, fmt.Errorf("%s/%s: expected the intent %d", j.dir, n, len(out)+1)
			}
			out = append(out, journal.Entry{Intent: *r.Intent})
			continue
		}
		if n.seq < 1 || n.seq > len(out) {
			return nil, fmt.Errorf("%s/%s: there is no intent %d", j.dir, n, n.seq)
		}
		e := &out[n.seq-1]
		switch {
		case n.kind == kindDone && r.Done != nil && r.Done.Seq == n.seq:
			e.Done = r.Done
		case n.kind == kindUndone && r.Undone != nil && r.Undone.Seq == n.seq:
			e.Undone = r.Undone
		default:
			return nil, fmt.Errorf("%s/%s does not hold the record that its name says", j.dir, n)
		}
	}
	return out, nil
}

// records reads those that were not read before.
func (j *s3Journal) records(ctx context.Context, names []name) ([]record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, errs := make([]record, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	slots := make(chan struct{}, readers)
	for i, n := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if out[i], errs[i] = j.record(ctx, n); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return out, errors.Join(errs...)
}

func (j *s3Journal) record(ctx context.Context, n name) (record, error) {
	key := path.Join(j.dir, n.String())
	j.mu.Lock()
	r, ok := j.read[key]
	j.mu.Unlock()
	if ok {
		return r, nil
	}
	b, err := get(ctx, j.s3, location{j.bucket, key}, maxRecord)
	if err != nil {
		return record{}, fmt.Errorf("read %s: %w", key, err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("read %s: %w", key, err)
	}
	j.mu.Lock()
	j.read[key] = r
	j.mu.Unlock()
	return r, nil
}

// list returns the names of the journal's records: intents first, in order; of the rest, earlier tries before later ones.
func (j *s3Journal) list(ctx context.Context) ([]name, error) {
	var out []name
	in := &s3.ListObjectsV2Input{Bucket: aws.String(j.bucket), Prefix: aws.String(j.dir + "/")}
	for {
		page, err := j.s3.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", j.dir, err)
		}
		for _, o := range page.Contents {
			n, err := parseName(strings.TrimPrefix(aws.ToString(o.Key), j.dir+"/"))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", j.dir, err)
			}
			out = append(out, n)
		}
		if page.NextContinuationToken == nil {
			break
		}
		in.ContinuationToken = page.NextContinuationToken
	}
	slices.SortFunc(out, name.compare)
	return out, nil
}
