package process

import (
	"context"
	"time"
)

// awaitExitInTurns looks at a process that is not our child until it is gone; nothing tells.
func awaitExitInTurns(ctx context.Context, pid int, identity string) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for Alive(pid, identity) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
