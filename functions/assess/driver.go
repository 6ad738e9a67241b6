package assess

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	storagev1 "k8s.io/api/storage/v1"

	"fallbackchain.io/fallback/shared/plan"
	"fallbackchain.io/fallback/shared/scheduling"
	"fallbackchain.io/fallback/shared/signal"
	"fallbackchain.io/fallback/shared/volume"
)

// drivers are the CSI drivers behind the workload's claims: of the live volumes and claims, else of the inventory, else of the
// StatefulSet's templates. unresolved names what has no driver (a class that exists nowhere); other volumes need none.
func (r *readings) drivers() (names, unresolved []string) {
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i := range r.facts.Volumes {
		add(volume.DriverOfVolume(&r.facts.Volumes[i]))
	}
	classes := slices.Concat(r.facts.Classes, r.wanted.classes)
	claims := slices.Clone(r.facts.Claims)
	if len(claims) == 0 {
		claims = slices.Clone(r.wanted.objects)
	}
	if len(claims) == 0 {
		for _, s := range []*appsv1.StatefulSet{r.facts.StatefulSet, r.wanted.statefulSet} {
			if s != nil {
				claims = append(claims, s.Spec.VolumeClaimTemplates...)
			}
		}
	}
	for i := range claims {
		c := &claims[i]
		if c.Spec.VolumeName != "" && r.facts.Volume(c.Spec.VolumeName) != nil {
			continue // its volume has told
		}
		if p := c.Annotations["volume.kubernetes.io/storage-provisioner"]; p != "" {
			add(volume.DriverName(p))
			continue
		}
		class, name := volume.ClassOf(classes, c)
		if class == nil {
			unresolved = append(unresolved, fmt.Sprintf("claim %s: StorageClass %q does not exist", c.Name, name))
			continue
		}
		add(volume.DriverName(class.Provisioner))
	}
	slices.Sort(names)
	return names, unresolved
}

// driverHealthy judges the CSI driver by three things: its CSIDriver object, its entry in the CSINode of every node that should
// run the workload, and its controller's Deployment where the plan names it. Attach errors are not its concern.
func (r *readings) driverHealthy(controller *plan.DeploymentRef) signal.Signal {
	names, unresolved := r.drivers()
	if len(names) == 0 {
		if len(unresolved) == 0 && len(r.facts.Claims) > 0 {
			return is(signal.NotApplicable, "NoCSIDriver", "the workload's volumes are not served by a CSI driver")
		}
		msg := "no claim, inventory or StatefulSet tells which driver serves the workload"
		if len(unresolved) > 0 {
			msg = unresolved[0]
		}
		return is(signal.Unknown, "DriverUndetermined", msg)
	}
	var bad, evidence []string
	reason := ""
	fail := func(why, format string, args ...any) {
		if reason == "" {
			reason = why
		}
		bad = append(bad, fmt.Sprintf(format, args...))
	}
	nodes, note := r.nodes()
	for _, d := range names {
		evidence = append(evidence, "csidriver/"+d)
		if r.facts.Driver(d) == nil {
			fail("DriverMissing", "CSIDriver %s does not exist", d)
		}
		for _, n := range nodes {
			if !r.registered(n, d) {
				fail("NotRegisteredOnNode", "driver %s is not registered on node %s (CSINode)", d, n)
			}
		}
	}
	for _, n := range nodes {
		evidence = append(evidence, "csinode/"+n)
	}
	if controller == nil {
		note += "; the plan names no controller Deployment, so the driver's controller was not looked at"
	} else {
		at := controller.Namespace + "/" + controller.Name
		evidence = append([]string{"deployment/" + at}, evidence...)
		switch {
		case r.controllerErr != nil:
			if reason == "" {
				return is(signal.Unknown, "NotReadable", r.controllerErr.Error(), evidence...)
			}
		case r.controller == nil:
			fail("ControllerMissing", "Deployment %s of the driver's controller does not exist", at)
		case !volume.DeploymentAvailable(r.controller):
			fail("ControllerUnavailable", "Deployment %s of the driver's controller has no available replica", at)
		}
	}
	if reason != "" {
		return is(signal.False, reason, strings.Join(bad, "; "), evidence...)
	}
	if len(nodes) == 0 {
		return is(signal.Unknown, "NoNodes", "no node is ready, so the driver is registered on none", evidence...)
	}
	return is(signal.True, "Healthy", fmt.Sprintf("driver %s is registered on all %d nodes%s", strings.Join(names, ", "), len(nodes), note), evidence...)
}

// nodes are those that should run the workload: ready, not cordoned, matching its placement. When its placement matches no node
// the driver is judged on every node that is ready; that the placement matches none is SchedulingPossible's concern.
func (r *readings) nodes() (names []string, note string) {
	s := r.facts.StatefulSet
	if s == nil {
		s = r.wanted.statefulSet
	}
	var ready []string
	for i := range r.facts.Nodes {
		n := &r.facts.Nodes[i]
		if !volume.NodeReady(n) || n.Spec.Unschedulable {
			continue
		}
		ready = append(ready, n.Name)
		if s == nil || scheduling.Schedulable(&s.Spec.Template.Spec, n) {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return ready, " (the workload's own placement matches none of them)"
	}
	return names, ""
}

func (r *readings) registered(node, driver string) bool {
	i := slices.IndexFunc(r.csiNodes, func(n storagev1.CSINode) bool { return n.Name == node })
	return i >= 0 && slices.ContainsFunc(r.csiNodes[i].Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == driver })
}
