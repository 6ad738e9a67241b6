package backup

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// claim of the tarball.
type claim struct {
	volume string
	phase  string
}

// content visits the tarball for Verify: it compares and keeps what must be compared, not the objects.
type content struct {
	v    *verification
	list resourceList
	// kinds is the one "apiVersion's group/Kind" of each resource, resources the other way round.
	kinds, resources map[string]string
	// last is the object before, which most often is the same as the next one: each is stored twice.
	last     item
	lastJSON []byte
	lastOK   bool
	// single and early hold the digests of objects whose second copy did not follow at once, and of second copies that came first: what
	// Velero adds when it finalizes a backup is in no order.
	single, early map[item]uint64
	seed          maphash.Seed
	claims        map[string]claim
	formats       int
	formatIs      string
	objects       int
	stateful      bool
	systemUID     string
	// seen replaces the resource list where there is none.
	seen map[string]bool
}

func newContent(v *verification, list resourceList) *content {
	return &content{v: v, list: list, kinds: map[string]string{}, resources: map[string]string{}, single: map[item]uint64{}, early: map[item]uint64{},
		seed: maphash.MakeSeed(), claims: map[string]claim{}, seen: map[string]bool{}}
}

func (c *content) subject() string { return keyOf(c.v.name, kindContents) }

func (c *content) wrong(means, format string, args ...any) {
	c.v.wrong(ReasonContent, c.subject(), means, format, args...)
}

const meansObject = "the object comes back wrong, or not at all"

func (c *content) format(version string) {
	c.formats++
	c.formatIs = version
}

func (c *content) odd(problem string) {
	c.wrong("the tarball is not as Velero wrote it", "%s", problem)
}

func (c *content) object(it item, data []byte) {
	if it.preferred {
		c.copy(it, data)
		return
	}
	if it.version == "" {
		c.first(it, data)
	}
	h, err := scanObject(data)
	if err != nil {
		c.wrong(meansObject, "%s: %v", it, err)
		return
	}
	if !c.agrees(it, h) {
		return
	}
	c.count(it, h)
	if it.version == "" {
		c.remember(it, data)
	}
}

// first keeps an object for the comparison with its second copy.
func (c *content) first(it item, data []byte) {
	c.keepSingle()
	if sum, ok := c.early[it]; ok {
		delete(c.early, it)
		c.compare(it, sum == maphash.Bytes(c.seed, data))
		return
	}
	c.last, c.lastJSON, c.lastOK = it, append(c.lastJSON[:0], data...), true
}

// keepSingle puts the object before away when its second copy has not been met.
func (c *content) keepSingle() {
	if c.lastOK {
		c.single[c.last] = maphash.Bytes(c.seed, c.lastJSON)
	}
	c.lastOK = false
}

// copy compares the second copy of an object with the first.
func (c *content) copy(it item, data []byte) {
	first := it.unversioned()
	if c.lastOK && c.last == first {
		c.lastOK = false
		c.compare(first, bytes.Equal(c.lastJSON, data))
		return
	}
	sum := maphash.Bytes(c.seed, data)
	if have, ok := c.single[first]; ok {
		delete(c.single, first)
		c.compare(first, have == sum)
		return
	}
	c.early[first] = sum
}

func (c *content) compare(it item, same bool) {
	if !same {
		c.wrong("it is not known which copy is the right one", "%s has two copies that differ", it)
	}
}

// agrees tells whether an object is the one that its path names.
func (c *content) agrees(it item, h header) bool {
	if string(h.name) != it.name || string(h.namespace) != it.namespace {
		c.wrong(meansObject, "the entry of %s holds the object %s", it, item{namespace: string(h.namespace), name: string(h.name)}.at())
		return false
	}
	group, version := "", h.apiVersion
	if i := bytes.IndexByte(h.apiVersion, '/'); i >= 0 {
		group, version = string(h.apiVersion[:i]), h.apiVersion[i+1:]
	}
	if len(version) == 0 || len(h.kind) == 0 || group != it.group() || (it.version != "" && string(version) != it.version) {
		c.wrong(meansObject, "the entry of %s holds an object of kind %q and apiVersion %q", it, h.kind, h.apiVersion)
		return false
	}
	kind := group + "/" + string(h.kind)
	if have, ok := c.kinds[it.resource]; !ok {
		if other, taken := c.resources[kind]; taken && other != it.resource {
			c.wrong(meansObject, "the entry of %s holds a %s, and so does the resource %s", it, h.kind, other)
			return false
		}
		c.kinds[it.resource], c.resources[kind] = kind, it.resource
	} else if have != kind {
		c.wrong(meansObject, "the entry of %s holds a %s, the other objects there are of kind %s", it, kind, have)
		return false
	}
	return true
}

// count holds an object against the resource list.
func (c *content) count(it item, h header) {
	name := it.at()
	if c.list == nil {
		key := it.resource + "/" + it.version + "/" + name
		if c.seen[key] {
			c.wrong(meansObject, "%s is there twice", it)
			return
		}
		c.seen[key] = true
		c.objects++
		return
	}
	names := c.list[string(h.apiVersion)+"/"+string(h.kind)]
	met, listed := names[name]
	switch {
	case listed && met:
		// Once without a version and once below it: an object that has no preferred version is below its versions only.
		c.wrong(meansObject, "%s is there twice", it)
		return
	case listed:
		names[name] = true
	case c.v.added[it.unversioned()]:
	default:
		c.v.wrong(ReasonContent, c.subject(), "something put it there after Velero wrote the list, and a restore would create it",
			"%s is in the tarball and not in the resource list", it)
	}
	c.objects++
}

// remember keeps of an object what other parts of the backup are held against.
func (c *content) remember(it item, data []byte) {
	switch {
	case it.resource == "persistentvolumeclaims":
		var pvc struct {
			Spec struct {
				VolumeName string `json:"volumeName"`
			} `json:"spec"`
			Status struct {
				Phase string `json:"phase"`
			} `json:"status"`
		}
		if err := json.Unmarshal(data, &pvc); err != nil {
			c.wrong(meansObject, "%s is no claim: %v", it, err)
			return
		}
		c.claims[it.at()] = claim{volume: pvc.Spec.VolumeName, phase: pvc.Status.Phase}
	case it.resource == "statefulsets.apps" && it.namespace == c.v.exp.Namespace && it.name == c.v.exp.StatefulSet:
		c.stateful = true
	case it.resource == "namespaces" && it.name == metav1.NamespaceSystem:
		var ns struct {
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		}
		if json.Unmarshal(data, &ns) == nil {
			c.systemUID = ns.Metadata.UID
		}
	}
}

// finish says what is missing, after the whole tarball was read.
func (c *content) finish() {
	c.keepSingle()
	for _, it := range sortedItems(c.early) {
		c.wrong("a restore reads the first copy and would not find the object", "%s is there only below its version", it)
	}
	if left := sortedItems(c.single); len(left) > 0 {
		c.wrong("the tarball is not as Velero wrote it", "%d objects have no second copy below their version, the first is %s", len(left), left[0])
	}
	for _, kind := range slices.Sorted(maps.Keys(c.list)) {
		var lost []string
		for name, met := range c.list[kind] {
			if !met {
				lost = append(lost, name)
			}
		}
		slices.Sort(lost)
		for _, name := range lost {
			c.wrong("a restore would not bring it back", "%s %s is in the resource list and not in the tarball", kind, name)
		}
	}
	switch {
	case c.formats != 1:
		c.wrong("Velero refuses a backup whose format it does not know", "has %d entries metadata/version, expected one", c.formats)
	case c.v.doc != nil && c.formatIs != c.v.doc.Status.FormatVersion:
		c.wrong("the tarball is another backup's", "has the format %q, velero-backup.json says %q", c.formatIs, c.v.doc.Status.FormatVersion)
	}
	if c.objects == 0 {
		c.wrong("nothing would come back", "holds no object")
	}
}

func sortedItems(m map[item]uint64) []item {
	return slices.SortedFunc(maps.Keys(m), func(a, b item) int { return strings.Compare(a.String(), b.String()) })
}
