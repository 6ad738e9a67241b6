package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	backupstep "fallbackchain.io/fallback/functions/backup"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/shared/backup/backuptest"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/velero"
)

// A backup as large clusters have them: 1 GiB of tarball, each of the objects in it twice.
const (
	benchObjects = 50_000
	benchMiB     = 1 << 10
)

func isGone(err error) bool { return apierrors.IsNotFound(err) }

func ignoreGone(err error) error {
	if isGone(err) {
		return nil
	}
	return err
}

// benchVerify measures the verification of a large backup in the bucket beside what an operator does by hand: download it with
// Velero's own command and list the tarball.
func (s *shop) benchVerify(ctx context.Context) (err error) {
	c, err := cluster.FromKubeconfig(s.status.Kubeconfig, "")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fallback-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := "large-" + time.Now().UTC().Format("20060102150405")
	at, err := stack.Layout{Dir: s.status.Dir}.Backups()
	if err != nil {
		return err
	}
	fmt.Fprintf(s.options.err, "… make a backup of %d objects, %d MiB\n", benchObjects, benchMiB)
	defer func() { err = errors.Join(err, removeBackup(context.WithoutCancel(ctx), at, name)) }()
	packed, err := upload(ctx, c, at, dir, name)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Fprintln(s.options.err, "… seal it, and wait until Velero knows it")
	if _, err := measured(exec.CommandContext(ctx, self, "backup", "seal", "-f", s.veleroPlan, "--backup", name)); err != nil {
		return err
	}
	if err := known(ctx, c, name); err != nil {
		return err
	}
	fmt.Fprintln(s.options.err, "… verify it, and download and list it by hand")
	verify, err := measured(exec.CommandContext(ctx, self, "backup", "verify", "-f", s.veleroPlan, "--backup", name))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "downloaded.tar.gz")
	download, err := measured(s.velero(ctx, "backup", "download", name, "--output", file, "--timeout", benchTimeout.String()))
	if err != nil {
		return err
	}
	list, err := measured(exec.CommandContext(ctx, "tar", "-tzf", file))
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(s.options.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nBACKUP OF %d OBJECTS, %d MiB (%d COMPRESSED)\tTIME\tMB/s\tPEAK MEMORY\tWHAT IT TELLS\n", benchObjects, benchMiB, packed>>20)
	row := func(what string, u usage, tells string) {
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%d MiB\t%s\n", what, u.took.Round(10*time.Millisecond), float64(benchMiB<<20)/1e6/u.took.Seconds(), u.peak>>20, tells)
	}
	row("fallback backup verify", verify, "every digest, entry, object and volume, against the signed manifest")
	row("velero backup download + tar -t", usage{download.took + list.took, max(download.peak, list.peak)}, "that the archive can be read")
	row("  of it velero backup download", download, "")
	row("  of it tar -t", list, "")
	return w.Flush()
}

// usage is what a process took.
type usage struct {
	took time.Duration
	peak int64
}

// measured runs a program to its end.
func measured(cmd *exec.Cmd) (usage, error) {
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	from := time.Now()
	err := cmd.Start()
	if err == nil {
		peak := watchMemory(cmd.Process.Pid)
		err = cmd.Wait()
		took := time.Since(from)
		if memory := peak(); err == nil {
			return usage{took, memory}, nil
		}
	}
	return usage{}, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(said.String()))
}

// upload makes the backup as this cluster's Velero would have, and returns the size of its tarball.
func upload(ctx context.Context, c *cluster.Client, at stack.Backups, dir, name string) (size int64, err error) {
	spec := backuptest.Spec{Name: name, Namespace: sample.Namespace, StatefulSet: sample.StatefulSet, Claims: sample.Replicas, Started: time.Now().Add(-time.Minute).Truncate(time.Second)}
	if spec.ClusterUID, spec.Kubernetes, err = backupstep.Identity(ctx, c); err != nil {
		return 0, err
	}
	client, err := at.S3(ctx)
	if err != nil {
		return 0, err
	}
	put := func(key string, body io.Reader) error {
		full := at.Prefix + "/" + key
		_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &at.Bucket, Key: &full, Body: body})
		return err
	}
	tarball, err := os.Create(filepath.Join(dir, "tarball"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, tarball.Close()) }()
	var list strings.Builder
	if err := spec.WriteLarge(tarball, &list, benchObjects, benchMiB<<20/benchObjects/2-1024); err != nil {
		return 0, err
	}
	if size, err = tarball.Seek(0, io.SeekCurrent); err != nil {
		return 0, err
	}
	if _, err := tarball.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	for key, data := range spec.Files() {
		switch key {
		case backuptest.Key(name, ".tar.gz"):
			err = put(key, tarball)
		case backuptest.Key(name, "-resource-list.json.gz"):
			err = put(key, strings.NewReader(list.String()))
		default:
			err = put(key, strings.NewReader(string(data)))
		}
		if err != nil {
			return 0, err
		}
	}
	return size, nil
}

// known waits until Velero has found the backup in its bucket.
func known(ctx context.Context, c *cluster.Client, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("the backup %s was not found by Velero in its bucket", name))
	defer cancel()
	ok, err := c.WaitFor(ctx, 0, []cluster.Source{{GVR: velero.Backups, Namespace: stack.VeleroNamespace}}, func(ctx context.Context) (bool, error) {
		_, err := cluster.Get[velero.Backup](ctx, c, velero.Backups, stack.VeleroNamespace, name)
		return err == nil, ignoreGone(err)
	})
	if err == nil && !ok {
		err = context.Cause(ctx)
	}
	return err
}

// removeBackup takes every version of every object out of the bucket; Velero then forgets the backup by itself.
func removeBackup(ctx context.Context, at stack.Backups, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, err := at.S3(ctx)
	if err != nil {
		return err
	}
	prefix := at.Prefix + "/backups/" + name + "/"
	l, err := client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &at.Bucket, Prefix: &prefix})
	if err != nil {
		return err
	}
	for _, v := range l.Versions {
		_, derr := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &at.Bucket, Key: v.Key, VersionId: v.VersionId})
		err = errors.Join(err, derr)
	}
	return err
}
