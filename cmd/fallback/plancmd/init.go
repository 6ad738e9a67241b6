package plancmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"

	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/plan/planinit"
)

type initOptions struct{ namespace, statefulSet, kubeconfig, context string }

func initCommand() *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use: "init", Short: "Writes a commented plan from the live workload to standard output", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			live, err := o.read(c.Context(), func(format string, args ...any) {
				fmt.Fprintf(c.ErrOrStderr(), "fallback: "+format+"\n", args...)
			})
			if err != nil {
				return err
			}
			text, err := planinit.Init(live)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringVarP(&o.namespace, "namespace", "n", "", "the workload's namespace")
	c.Flags().StringVar(&o.statefulSet, "statefulset", "", "the workload's StatefulSet (default the only one)")
	c.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file (default $KUBECONFIG or ~/.kube/config)")
	c.Flags().StringVar(&o.context, "context", "", "context of the kubeconfig (default its current one)")
	cobra.CheckErr(c.MarkFlagRequired("namespace"))
	return c
}

// kubeconfigPath is the flag, else the first file of $KUBECONFIG, else ~/.kube/config, as an absolute path.
func kubeconfigPath(flag string) (string, error) {
	path := flag
	if path == "" {
		path, _, _ = strings.Cut(os.Getenv(clientcmd.RecommendedConfigPathEnvVar), string(os.PathListSeparator))
	}
	if path == "" {
		path = clientcmd.RecommendedHomeFile
	}
	return filepath.Abs(path)
}

// snapshotClass is what is needed of a VolumeSnapshotClass.
type snapshotClass struct {
	metav1.ObjectMeta `json:"metadata"`
	Driver            string `json:"driver"`
}

// read reads the live workload. What it may not read of the cluster outside the namespace is told through warn and left
// out: init only writes a proposal.
func (o initOptions) read(ctx context.Context, warn func(string, ...any)) (planinit.Live, error) {
	path, err := kubeconfigPath(o.kubeconfig)
	if err != nil {
		return planinit.Live{}, err
	}
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return planinit.Live{}, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	c, err := cluster.FromKubeconfig(path, o.context)
	if err != nil {
		return planinit.Live{}, err
	}
	live := planinit.Live{Kubeconfig: path, Context: o.context}
	if live.Context == "" {
		live.Context = config.CurrentContext
	}
	if live.StatefulSet, err = o.workload(ctx, c); err != nil {
		return planinit.Live{}, err
	}
	r := reader{ctx, c, warn}
	secrets := list[corev1.Secret](r, cluster.Secrets, o.namespace)
	for i := range secrets {
		s := planinit.Secret{Name: secrets[i].Name, Type: secrets[i].Type}
		for k := range secrets[i].Data {
			s.Keys = append(s.Keys, k)
		}
		live.Secrets = append(live.Secrets, s)
	}
	live.Services = list[corev1.Service](r, cluster.Services, o.namespace)
	live.Claims = list[corev1.PersistentVolumeClaim](r, cluster.PersistentVolumeClaims, o.namespace)
	live.HPAs = list[autoscalingv2.HorizontalPodAutoscaler](r, cluster.HPAs, o.namespace)
	live.StorageClasses = list[storagev1.StorageClass](r, cluster.StorageClasses, "")
	live.Deployments = list[appsv1.Deployment](r, cluster.Deployments, "")
	for _, s := range list[snapshotClass](r, cluster.VolumeSnapshotClasses, "") {
		live.SnapshotClasses = append(live.SnapshotClasses, planinit.SnapshotClass{Name: s.Name, Driver: s.Driver})
	}
	live.Velero = veleroOf(r, o.namespace)
	return live, ctx.Err()
}

// workload reads the named StatefulSet, or the only one.
func (o initOptions) workload(ctx context.Context, c *cluster.Client) (*appsv1.StatefulSet, error) {
	if o.statefulSet != "" {
		sts, err := cluster.Get[appsv1.StatefulSet](ctx, c, cluster.StatefulSets, o.namespace, o.statefulSet)
		if err != nil {
			return nil, fmt.Errorf("StatefulSet %s/%s: %w", o.namespace, o.statefulSet, err)
		}
		return sts, nil
	}
	all, err := cluster.List[appsv1.StatefulSet](ctx, c, cluster.StatefulSets, o.namespace, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("StatefulSets in namespace %s: %w", o.namespace, err)
	}
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	switch len(all) {
	case 1:
		return &all[0], nil
	case 0:
		return nil, fmt.Errorf("namespace %s has no StatefulSet", o.namespace)
	default:
		return nil, fmt.Errorf("namespace %s has the StatefulSets %s: choose one with --statefulset", o.namespace, strings.Join(names, ", "))
	}
}

type reader struct {
	ctx  context.Context
	c    *cluster.Client
	warn func(string, ...any)
}

// list reads what it can; an API that the cluster does not have has no objects.
func list[T any](r reader, gvr schema.GroupVersionResource, namespace string) []T {
	items, err := cluster.List[T](r.ctx, r.c, gvr, namespace, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !errors.Is(err, context.Canceled) {
		r.warn("%s could not be read, so that the plan says nothing of them: %v", gvr.Resource, err)
	}
	return items
}
