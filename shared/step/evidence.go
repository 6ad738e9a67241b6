package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fallbackchain.io/fallback/shared/fault"
	"fallbackchain.io/fallback/shared/run"
)

// Evidence keeps what a later step needs and a section cannot hold, beside the run's journal.
type Evidence interface {
	// Put writes a file of the run, which it replaces, and returns its URI.
	Put(ctx context.Context, runID, name string, data []byte) (uri string, err error)
	// Get reads it.
	Get(ctx context.Context, runID, name string) ([]byte, error)
}

// evidenceLimit is the most that is read of one file: 200 claims take about 60 KiB.
const evidenceLimit = 16 << 20

// Keep writes v as JSON to a file of the run and reads it back.
func (s *Session) Keep(ctx context.Context, name string, v any) (*run.Evidence, error) {
	op := "keep " + name + " of run " + s.Run.ID
	if s.env.Evidence == nil {
		return nil, fault.Newf(fault.Internal, op, "this process has no place for evidence")
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	uri, err := s.env.Evidence.Put(ctx, s.Run.ID, name, data)
	if err != nil {
		return nil, classified(fault.JournalUnwritable, op, err)
	}
	e := &run.Evidence{URI: uri, Digest: digest(data)}
	return e, s.recall(ctx, op, name, e, nil)
}

// Recall reads what Keep wrote. Bytes with another digest are refused.
func (s *Session) Recall(ctx context.Context, name string, e *run.Evidence, v any) error {
	return s.recall(ctx, "read "+name+" of run "+s.Run.ID, name, e, v)
}

func (s *Session) recall(ctx context.Context, op, name string, e *run.Evidence, v any) error {
	if s.env.Evidence == nil {
		return fault.Newf(fault.UndoIncomplete, op, "this process has no place for evidence")
	}
	data, err := s.env.Evidence.Get(ctx, s.Run.ID, name)
	if err != nil {
		return classified(fault.UndoIncomplete, op, err)
	}
	if have := digest(data); have != e.Digest {
		return fault.Newf(fault.UndoIncomplete, op, "%s has digest %s, expected %s: it is not what this run wrote", e.URI, have, e.Digest)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fault.New(fault.UndoIncomplete, op, err)
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// RollbackPointFile is the name of the evidence of a rollback point, RollbackPointLists what is in it.
const RollbackPointFile = "rollbackpoint.json"

// RollbackPointLists are the parts of a rollback point that grow with the number of claims.
type RollbackPointLists struct {
	Snapshots []run.Snapshot   `json:"snapshots"`
	Claims    []run.ClaimPoint `json:"claims"`
}

// RollbackPoint is the run's whole rollback point: its section, with the lists from the evidence where the section holds only the
// first of them. It is empty when none was captured.
func (s *Session) RollbackPoint(ctx context.Context) (run.RollbackPoint, error) {
	if s.Run.RollbackPoint == nil {
		return run.RollbackPoint{}, nil
	}
	p := *s.Run.RollbackPoint
	if p.Evidence == nil {
		return p, nil
	}
	var all RollbackPointLists
	if err := s.Recall(ctx, RollbackPointFile, p.Evidence, &all); err != nil {
		return p, err
	}
	p.Snapshots, p.Claims = all.Snapshots, all.Claims
	return p, nil
}

// EvidenceFiles is an Evidence of one directory per run: <Dir>/<run ID>/evidence/<name>, readable by its owner alone.
type EvidenceFiles struct{ Dir string }

func (f EvidenceFiles) path(runID, name string) (string, error) {
	for _, part := range []string{runID, name} {
		if part == "" || part == "." || part == ".." || filepath.Base(part) != part {
			return "", fmt.Errorf("run %q, name %q: expected plain names", runID, name)
		}
	}
	return filepath.Join(f.Dir, runID, "evidence", name), nil
}

// Put writes the file and syncs it.
func (f EvidenceFiles) Put(_ context.Context, runID, name string, data []byte) (string, error) {
	path, err := f.path(runID, name)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+name+".new-") // 0600
	if err != nil {
		return "", err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(tmp.Name()))
	}
	return path, nil
}

// Get reads the file.
func (f EvidenceFiles) Get(_ context.Context, runID, name string) ([]byte, error) {
	path, err := f.path(runID, name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, evidenceLimit+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if len(data) > evidenceLimit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, evidenceLimit)
	}
	return data, nil
}
