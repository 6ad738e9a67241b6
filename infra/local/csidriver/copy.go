package csidriver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// unfinished marks a directory that is still being filled.
const unfinished = ".unfinished"

// makeDir makes dst, empty or as a copy of src, and gives it its name only when it is complete.
func makeDir(dst, src string) error {
	tmp := dst + unfinished
	for _, d := range []string{tmp, dst} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	if src == "" {
		if err := os.Mkdir(tmp, 0o777); err != nil {
			return err
		}
		// Whoever mounts it owns it, as with an fsGroup; Mkdir is subject to the umask.
		if err := os.Chmod(tmp, 0o777); err != nil {
			return err
		}
	} else if err := copyTree(tmp, src); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return os.Rename(tmp, dst)
}

// copyTree copies a directory with modes, owners and links. Files are copied with copy_file_range where the system has it,
// which shares blocks on file systems that can.
func copyTree(dst, src string) error {
	return filepath.WalkDir(src, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case e.IsDir():
			if err := os.Mkdir(to, 0o700); err != nil {
				return err
			}
		case e.Type() == fs.ModeSymlink:
			l, err := os.Readlink(p)
			if err != nil {
				return err
			}
			if err := os.Symlink(l, to); err != nil {
				return err
			}
			return chown(to, info)
		case e.Type().IsRegular():
			if err := copyFile(to, p); err != nil {
				return err
			}
		default: // sockets and pipes belong to processes, not to data
			return nil
		}
		if err := chown(to, info); err != nil {
			return err
		}
		if err := os.Chmod(to, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Chtimes(to, info.ModTime(), info.ModTime())
	})
}

func copyFile(dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// chown gives the copy its owner. Only root may give files away; everybody else owns the original already.
func chown(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("owner of the copy: %w", err)
	}
	return nil
}
