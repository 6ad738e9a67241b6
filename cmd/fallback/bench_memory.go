package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// watchMemory reads the most memory that a running process ever had (VmHWM, https://man7.org/linux/man-pages/man5/proc_pid_status.5.html)
// until the function that it returns is called, which tells it in bytes; 0 where there is no /proc. The system's own account of an
// ended process (getrusage) counts the memory of its parent in, from before its exec.
func watchMemory(pid int) (peak func() int64) {
	stop, done := make(chan struct{}), make(chan int64, 1)
	go func() {
		most := int64(0)
		t := time.NewTicker(10 * time.Millisecond)
		defer t.Stop()
		for {
			most = max(most, highWater(pid))
			select {
			case <-stop:
				done <- most
				return
			case <-t.C:
			}
		}
	}()
	return func() int64 { close(stop); return <-done }
}

func highWater(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, text, _ := strings.Cut(string(b), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscanf(text, "%d kB", &kib); err != nil {
		return 0
	}
	return kib << 10
}
