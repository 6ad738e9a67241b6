package testbed

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"fallbackchain.io/fallback/infra/kubernetes/rights"
	"fallbackchain.io/fallback/infra/local/audit"
	"fallbackchain.io/fallback/infra/recorded"
)

var updateRights = flag.Bool("update-rights", false, "add what the functions asked of the API server to the recorded rights; when all tests ran, remove what none asked")

// recordedFile is where the calls of the scenario packages are kept, from the directory of such a package.
func recordedFile(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		try := filepath.Join(dir, "infra", "kubernetes", "rights", "recorded")
		if _, err := os.Stat(try); err == nil {
			return filepath.Join(try, name+".txt"), nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no infra/kubernetes/rights/recorded above the working directory")
		}
		dir = up
	}
}

// partial says why the tests that ran did not use everything, "" when all of the package did and passed.
func partial(code int) string {
	if code != 0 {
		return "a test failed"
	}
	return recorded.Partial(flag.CommandLine)
}

// CheckRights reads from an API server's audit log what each function asked it for, and holds it against what is recorded of this package:
// a call that is recorded of no package nor explained is an error (run the tests with -update-rights), and so are one that was refused, and a
// recorded one that was not seen though everything ran, unless the record says why only some runs have it. What was seen and is recorded of
// another package is only told. partial says why not everything ran, "" if it did.
func CheckRights(out io.Writer, auditLog, name, partial string) error {
	es, err := audit.ReadAll(auditLog, audit.Filter{UserAgent: "fallback-chain"})
	if err != nil {
		return err
	}
	granted, err := rights.Granted()
	if err != nil {
		return err
	}
	calls := rights.Calls(es)
	for _, r := range rights.Refused(calls, granted) {
		err = errors.Join(err, fmt.Errorf("the API server refused: %s", r))
	}
	path, perr := recordedFile(name)
	if perr != nil {
		return errors.Join(err, perr)
	}
	have, rerr := readRights(path)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	used := rights.Used(calls, granted)
	if *updateRights {
		return errors.Join(err, writeRights(path, have.Updated(used, partial == "" && err == nil)))
	}
	reasons, rerr := readReasons(filepath.Join(filepath.Dir(filepath.Dir(path)), "reasons.yaml"))
	err = errors.Join(err, rerr)
	elsewhere, rerr := everyRecord(filepath.Dir(path))
	err = errors.Join(err, rerr)
	for _, r := range rights.Minus(used, have.Lines(rights.Compare)) {
		if why, ok := reasons[r]; ok {
			fmt.Fprintf(out, "%s was used, and is not recorded but only explained: %s\n", r, why)
			continue
		}
		if slices.Contains(elsewhere, r) {
			fmt.Fprintf(out, "%s was used, and is recorded of other tests only\n", r)
			continue
		}
		err = errors.Join(err, fmt.Errorf("%s does not record: %s (-update-rights adds it)", path, r))
	}
	stale := have.Stale(used, rights.Compare)
	if partial != "" && len(stale) > 0 {
		fmt.Fprintf(out, "%d of %d recorded rights were not used by the tests that ran (%s): %v\n", len(stale), len(have), partial, stale[:min(len(stale), 5)])
		return err
	}
	for _, r := range stale {
		err = errors.Join(err, fmt.Errorf("%s records, and no test used: %s (-update-rights removes it; \"# sometimes: \" and a reason keeps what only a race uses)", path, r))
	}
	return err
}

// everyRecord is what is recorded of any package.
func everyRecord(dir string) ([]rights.Right, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []rights.Right
	for _, f := range files {
		have, err := readRights(f)
		if err != nil {
			return nil, err
		}
		all = append(all, have.Lines(rights.Compare)...)
	}
	return all, nil
}

func readReasons(path string) (map[rights.Right]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return rights.Reasons(data)
}

func readRights(path string) (recorded.Record[rights.Right], error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	have, err := rights.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return have, nil
}

func writeRights(path string, have recorded.Record[rights.Right]) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(have.Write(f, rights.Compare), f.Close())
}
