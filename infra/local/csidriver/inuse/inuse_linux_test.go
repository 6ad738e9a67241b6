package inuse

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
)

// TestFreezeStopsWhoWorksInTheVolume: a process in the directory, and one it started, stand still until thawed.
func TestFreezeStopsWhoWorksInTheVolume(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", "sleep 60 & echo $!; cat; kill $!; wait")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	thaw, err := Freeze(dir)
	if err != nil {
		t.Fatal(err)
	}
	users, err := Users(dir)
	if err != nil || len(users) < 2 {
		t.Fatalf("users of the volume: %v (%v), want the shell and its children", users, err)
	}
	for _, pid := range users {
		if s := procState(pid); s != 'T' && (s != 'D' || !hasStoppedChild(pid, users)) { // the shell may be in the middle of a vfork
			t.Errorf("process %d is in state %c, want stopped", pid, s)
		}
	}
	thaw()
	if _, err := in.Write([]byte("go on\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := lines.ReadString('\n'); err != nil || !strings.Contains(got, "go on") {
		t.Errorf("after the thaw it said %q (%v)", got, err)
	}
	_ = in.Close()
	_ = cmd.Wait()
}

// TestThawAllMendsAKilledSnapshot: a driver that died between freeze and thaw left the users stopped.
func TestThawAllMendsAKilledSnapshot(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("cat")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := Freeze(dir); err != nil {
		t.Fatal(err)
	}
	if err := ThawAll(dir); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil { // a stopped process would never end
		t.Error(err)
	}
}
