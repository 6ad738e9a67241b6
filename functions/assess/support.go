package assess

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"fallbackchain.io/fallback/shared/signal"
)

// support is the range of Kubernetes minors that versions of a driver are published for.
type support struct {
	driver string
	// image is how the driver's container image is called, to find the version that runs.
	image string
	// from is the first driver version of the range, minKubernetes and maxKubernetes its bounds ("" is open).
	ranges []supportRange
}

type supportRange struct {
	from, minKubernetes, maxKubernetes string
}

// supported is a thin table on purpose: only what a project publishes. ebs.csi.aws.com: the "Kubernetes Compatibility Matrix" of
// https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/v1.11.2/README.md; later releases publish no upper bound. A
// driver that is not here is Unknown, which blocks nothing.
var supported = []support{{
	driver: "ebs.csi.aws.com", image: "aws-ebs-csi-driver",
	ranges: []supportRange{
		{from: "0.9.0", minKubernetes: "1.17"},
		{from: "0.5.0", minKubernetes: "1.14"},
		{from: "0.4.0", minKubernetes: "1.14", maxKubernetes: "1.15"},
		{from: "0.3.0", minKubernetes: "1.14", maxKubernetes: "1.14"},
		{from: "0.2.0", minKubernetes: "1.13", maxKubernetes: "1.14"},
	},
}}

// driverSupported holds the driver's version, read from the image tag of its controller, against the Kubernetes minor.
func (r *readings) driverSupported() signal.Signal {
	names, _ := r.drivers()
	if len(names) == 0 {
		return is(signal.Unknown, "DriverUndetermined", "no claim tells which driver serves the workload")
	}
	kube, err := version.ParseGeneric(r.version)
	if err != nil {
		return is(signal.Unknown, "VersionUnknown", fmt.Sprintf("the API server calls its version %q", r.version))
	}
	var images []string
	if r.controller != nil {
		for _, c := range r.controller.Spec.Template.Spec.Containers {
			images = append(images, c.Image)
		}
	}
	// The worst of several drivers: False before Unknown before True.
	worst := judgeSupport(names[0], images, kube)
	for _, d := range names[1:] {
		if next := judgeSupport(d, images, kube); next.Status == signal.False || (next.Status == signal.Unknown && worst.Status == signal.True) {
			worst = next
		}
	}
	return worst
}

func judgeSupport(driver string, images []string, kube *version.Version) signal.Signal {
	evidence := []string{"csidriver/" + driver}
	for _, s := range supported {
		if s.driver != driver {
			continue
		}
		tag := ""
		for _, i := range images {
			if t, ok := imageTag(i, s.image); ok {
				tag = t
				evidence = append(evidence, i)
			}
		}
		v, err := version.ParseGeneric(tag)
		if err != nil {
			return is(signal.Unknown, "DriverVersionUnknown", fmt.Sprintf("no image of the controller tells the version of %s", driver), evidence...)
		}
		return s.judge(v, kube, evidence)
	}
	return is(signal.Unknown, "DriverNotInTable", fmt.Sprintf("nothing is known of the Kubernetes versions that %s supports; this blocks nothing", driver), evidence...)
}

func (s support) judge(v, kube *version.Version, evidence []string) signal.Signal {
	for _, g := range s.ranges {
		if !v.AtLeast(version.MustParseGeneric(g.from)) {
			continue
		}
		minor := version.MajorMinor(kube.Major(), kube.Minor())
		switch {
		case !minor.AtLeast(version.MustParseGeneric(g.minKubernetes)),
			g.maxKubernetes != "" && version.MustParseGeneric(g.maxKubernetes).LessThan(minor):
			return is(signal.False, "NotSupported", fmt.Sprintf("%s %s is published for Kubernetes %s to %s, the cluster has %s",
				s.driver, v, g.minKubernetes, orOpen(g.maxKubernetes), minor), evidence...)
		default:
			return is(signal.True, "Supported", fmt.Sprintf("%s %s is published for Kubernetes %s to %s", s.driver, v, g.minKubernetes, orOpen(g.maxKubernetes)), evidence...)
		}
	}
	return is(signal.Unknown, "DriverVersionUnknown", fmt.Sprintf("nothing is known of %s %s", s.driver, v), evidence...)
}

func orOpen(v string) string {
	if v == "" {
		return "any later"
	}
	return v
}

// imageTag returns the tag of an image whose last path element is name, without "v" and build suffix
// ("…/aws-ebs-csi-driver:v1.40.0-eksbuild.1" gives "1.40.0").
func imageTag(image, name string) (string, bool) {
	image, _, _ = strings.Cut(image, "@")
	i := strings.LastIndexByte(image, ':')
	if i < 0 || image[strings.LastIndexByte(image[:i], '/')+1:i] != name {
		return "", false
	}
	tag, _, _ := strings.Cut(strings.TrimPrefix(image[i+1:], "v"), "-")
	return tag, true
}
