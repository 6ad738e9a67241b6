package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	// Decompression is what a verification takes its time with: this one is about half again as fast as the standard library's.
	"github.com/klauspost/compress/gzip"

	"fallbackchain.io/fallback/shared/backup/objectstore"
)

// body is the content of an object while it is streamed: counted, hashed when a digest is wanted, and never longer than it was listed.
type body struct {
	rc   io.ReadCloser
	size int64
	n    int64
	sum  hash.Hash
	// err is the store's own error, never io.EOF.
	err error
}

func openBody(ctx context.Context, s Store, o Object, digest bool) (*body, error) {
	rc, err := s.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	b := &body{rc: rc, size: o.Size}
	if digest {
		b.sum = sha256.New()
	}
	return b, nil
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.rc.Read(p)
	b.n += int64(n)
	if b.sum != nil {
		b.sum.Write(p[:n])
	}
	switch {
	case b.n > b.size:
		b.err = fmt.Errorf("%w: more than the %d that the listing says", objectstore.ErrLength, b.size)
		return n, b.err
	case errors.Is(err, io.EOF) && b.n < b.size:
		b.err = fmt.Errorf("%w: %d, the listing says %d", objectstore.ErrLength, b.n, b.size)
		return n, b.err
	case err != nil && !errors.Is(err, io.EOF):
		b.err = err
	}
	return n, err
}

// finish reads what is left, so that length and digest are those of the whole object.
func (b *body) finish() (digest string, err error) {
	_, _ = io.Copy(io.Discard, b) // its error is b.err
	if err := b.rc.Close(); b.err == nil && err != nil {
		b.err = err
	}
	if b.sum != nil {
		digest = hex.EncodeToString(b.sum.Sum(nil))
	}
	return digest, b.err
}

// gzipBuffer is what is read ahead of the decompression.
const gzipBuffer = 128 << 10

var errTrailing = errors.New("has bytes behind the end of its gzip stream")

// gunzip has the content of a gzip stream used, and then walks to its end: the checksum holds and nothing follows. Velero writes
// one gzip member an object.
func gunzip(r io.Reader, use func(io.Reader) error) error {
	br := bufio.NewReaderSize(r, gzipBuffer)
	zr, err := gzip.NewReader(br)
	if err != nil {
		return fmt.Errorf("is no gzip stream: %w", plainEOF(err))
	}
	zr.Multistream(false)
	in := &noted{r: zr}
	useErr := use(in)
	_, _ = io.Copy(io.Discard, in) // its error is noted
	if in.err != nil {
		return fmt.Errorf("its gzip stream is broken after %d bytes of content: %w", in.n, plainEOF(in.err))
	}
	if useErr != nil {
		return useErr
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

func plainEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends before its end")
	}
	return err
}

// noted keeps the first error of a reader, so that it is told from an error of the one who reads.
type noted struct {
	r   io.Reader
	n   int64
	err error
}

func (c *noted) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}
