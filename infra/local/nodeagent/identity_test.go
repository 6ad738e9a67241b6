package nodeagent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDatabasesNeverRunAsRoot(t *testing.T) {
	for _, tc := range []struct{ uid, gid int }{{-1, -1}, {4321, -1}, {4321, 99}} {
		got, err := ResolveIdentity(tc.uid, tc.gid)
		switch {
		case os.Geteuid() != 0 && tc.uid >= 0:
			if err == nil {
				t.Errorf("user %d became user %d", os.Geteuid(), tc.uid)
			}
		case err != nil:
			t.Error(err)
		case got.UID == 0:
			t.Errorf("asked for %+v: root", tc)
		case tc.uid >= 0 && got.UID != tc.uid:
			t.Errorf("asked for %+v: %s", tc, got)
		}
	}
	if os.Geteuid() == 0 {
		if got, err := ResolveIdentity(0, 0); err == nil {
			t.Errorf("asked for root: %s", got)
		}
	}
}

func TestADirectoryOnTheWayIsClosed(t *testing.T) {
	root := t.TempDir()
	closed := filepath.Join(root, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "volumes"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := Identity{UID: os.Geteuid() + 4321, GID: os.Getegid() + 4321, Switch: true}
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o710: false, 0o711: true, 0o755: true} {
		if err := os.Chmod(closed, mode); err != nil {
			t.Fatal(err)
		}
		// Whether the directories above are open is the machine's matter, so only the closed one is asked about.
		err := other.CanEnter(filepath.Join(closed, "volumes"))
		if got := err == nil || !strings.Contains(err.Error(), closed+" "); got != want {
			t.Errorf("mode %o: %v, want entry %t", mode, err, want)
		}
	}
	own := Identity{UID: os.Geteuid(), GID: os.Getegid()}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := own.CanEnter(filepath.Join(closed, "volumes")); err != nil {
		t.Errorf("our own directory: %v", err)
	}
}
