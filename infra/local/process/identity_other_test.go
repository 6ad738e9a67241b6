//go:build unix && !linux

package process

const killedWithParent = false
