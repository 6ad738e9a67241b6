package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// NameLimit is the most characters of a plan's name: a run's ID is "<name>-<mode>-<14 digits>-<4 hex>" and must stay a DNS
// label of at most 63 (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names).
const NameLimit = 30

func (c *checker) name(name, path string) {
	if len(name) > NameLimit {
		c.add(path, name, fmt.Sprintf("has %d characters", len(name)), fmt.Sprintf("at most %d", NameLimit))
		return
	}
	c.label(name, path)
}

// label wants a DNS-1123 label; an empty one is required's business.
func (c *checker) label(s, path string) {
	if s != "" && len(validation.IsDNS1123Label(s)) > 0 {
		c.add(path, s, "is not a DNS label", "lower-case letters, digits and '-', at most 63, e.g. shop-db")
	}
}

// subdomain wants a DNS-1123 subdomain: what most Kubernetes names are.
func (c *checker) subdomain(s, path string) {
	if s != "" && len(validation.IsDNS1123Subdomain(s)) > 0 {
		c.add(path, s, "is not a Kubernetes name", "lower-case letters, digits, '-' and '.', at most 253, e.g. shop-db")
	}
}

func (c *checker) port(p int, path string) {
	if p < 1 || p > 65535 {
		c.add(path, fmt.Sprint(p), "is not a port", "1 to 65535")
	}
}

// one wants exactly one of the fields of a struct to be set. It comes last for a struct: nothing more is said of its inside.
func (c *checker) one(path string, set map[string]bool, fields ...string) {
	var have []string
	for _, f := range fields {
		if set[f] || c.known(join(path, f)) {
			have = append(have, f)
		}
	}
	want := "exactly one of " + list(fields)
	if len(fields) == 1 {
		want = fields[0]
	}
	switch {
	case c.known(path):
	case len(have) == 0:
		c.add(path, "", "says nothing", want)
	case len(have) > 1:
		c.add(path, strings.Join(have, ", "), "sets more than one field", want)
	}
}

func (c *checker) cluster(cl *Cluster, path string) {
	if cl.EKS != nil {
		c.matches(cl.EKS.Name, path+".eks.name", eksName, "letters, digits, '-' and '_', at most 100")
		c.matches(cl.EKS.Region, path+".eks.region", awsRegion, "an AWS Region such as eu-central-1")
	}
	if cl.Kubeconfig != nil {
		c.line(cl.Kubeconfig.Path, path+".kubeconfig.path")
		c.line(cl.Kubeconfig.Context, path+".kubeconfig.context")
	}
	c.one(path, map[string]bool{"eks": cl.EKS != nil, "kubeconfig": cl.Kubeconfig != nil}, "eks", "kubeconfig")
}

var (
	// https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html, "name"
	eksName   = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$`)
	awsRegion = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]$`)
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	s3URI = regexp.MustCompile(`^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\x00-\x1f]*)?$`)
	// https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html, "Name"
	snsARN   = regexp.MustCompile(`^arn:aws(-[a-z]+)*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$`)
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	kind     = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)
	control  = regexp.MustCompile(`[\x00-\x1f\x7f]`)
)

func (c *checker) matches(s, path string, re *regexp.Regexp, want string) {
	if s != "" && !re.MatchString(s) {
		c.add(path, s, "is not valid", want)
	}
}

// line wants text without control characters.
func (c *checker) line(s, path string) {
	if control.MatchString(s) {
		c.add(path, s, "has control characters", "one line of text")
	}
}

func (c *checker) inventory(inv *Inventory, path string) {
	if inv == nil {
		return
	}
	c.one(path, map[string]bool{"manifests": inv.Manifests != nil, "velero": inv.Velero != nil}, "manifests", "velero")
	if v := inv.Velero; v != nil {
		c.velero(v, path+".velero")
	}
	if inv.Manifests == nil {
		return
	}
	p, at := inv.Manifests.Path, path+".manifests.path"
	c.line(p, at)
	if strings.HasPrefix(p, "s3:") {
		c.matches(p, at, s3URI, "s3://bucket/prefix")
	} else if strings.Contains(p, "://") {
		c.add(at, p, "is not a place that can be read", "a directory or s3://bucket/prefix")
	}
}

func (c *checker) volumes(v *Volumes, path string) {
	if v.Controller != nil {
		c.label(v.Controller.Namespace, path+".controller.namespace")
		c.subdomain(v.Controller.Name, path+".controller.name")
	}
}

func (c *checker) relax(r *Relax, path string) {
	c.quantity(r.CPU, path+".cpu", "a CPU quantity such as 250m or 1")
	c.quantity(r.Memory, path+".memory", "a memory quantity such as 512Mi")
}

func (c *checker) quantity(s, path, want string) {
	q, err := resource.ParseQuantity(s)
	if s != "" && (err != nil || q.Sign() <= 0) {
		c.add(path, s, "is not a quantity above zero", want)
	}
}

func (c *checker) rollback(r *Rollback, path string) {
	s, at := r.Snapshots, path+".snapshots"
	c.enum(string(s.Source), at+".source", string(SnapshotsFresh), string(SnapshotsExisting))
	c.subdomain(s.Class, at+".class")
	if s.Class != "" && s.Source == SnapshotsExisting {
		c.add(at+".class", s.Class, "has no use with source Existing", "source Fresh, or no class")
	}
	if len(s.Selector) > 0 && s.Source != SnapshotsExisting {
		c.add(at+".selector", "", "has no use with source Fresh", "source Existing, or no selector")
	}
	for k, v := range s.Selector {
		if len(validation.IsQualifiedName(k)) > 0 || len(validation.IsValidLabelValue(v)) > 0 {
			c.add(at+".selector["+k+"]", k+"="+v, "is not a label", "a label key and value of Kubernetes")
		}
	}
}

func (c *checker) enum(s, path string, allowed ...string) {
	if s == "" || slices.Contains(allowed, s) {
		return
	}
	if !c.known(path) {
		c.add(path, s, "is not known", list(allowed))
		c.problems[len(c.problems)-1].Hint = meant(nearest(s, allowed))
	}
}

func (c *checker) notify(n *Notify, path string) {
	c.matches(n.SNSTopicARN, path+".snsTopicArn", snsARN, "arn:aws:sns:REGION:ACCOUNT:TOPIC")
}
