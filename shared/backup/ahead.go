package backup

import (
	"io"
	"sync"
)

const (
	aheadBlock  = 256 << 10
	aheadBlocks = 4
)

// ahead reads in a goroutine of its own, at most aheadBlocks blocks in front of its reader: what comes from the network is
// decompressed while the blocks before it are parsed. Close it; it returns when the goroutine has ended.
type ahead struct {
	full, free chan []byte
	stop       chan struct{}
	cur, left  []byte
	err        error // set before full is closed
	wg         sync.WaitGroup
}

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan []byte, aheadBlocks), free: make(chan []byte, aheadBlocks), stop: make(chan struct{})}
	for range aheadBlocks {
		a.free <- make([]byte, aheadBlock)
	}
	a.wg.Go(func() { a.fill(r) })
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	for {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.stop:
			return
		}
		n, err := 0, error(nil)
		for n < cap(b) && err == nil {
			var m int
			m, err = r.Read(b[n:cap(b)])
			n += m
		}
		if n > 0 {
			a.full <- b[:n] // has room for every block
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// Read returns what was read, and then the error that reading ended with.
func (a *ahead) Read(p []byte) (int, error) {
	if len(a.left) == 0 {
		if a.cur != nil {
			a.free <- a.cur[:cap(a.cur)]
			a.cur = nil
		}
		b, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.cur, a.left = b, b
	}
	n := copy(p, a.left)
	a.left = a.left[n:]
	return n, nil
}

// Close ends reading.
func (a *ahead) Close() {
	close(a.stop)
	a.wg.Wait()
}
