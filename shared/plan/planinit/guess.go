package planinit

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fallbackchain.io/fallback/shared/plan"
)

// database is what was guessed of the database, each with the comment that says from what.
type database struct {
	dialect
	engineNote           string
	port                 int32
	portNote             string
	name, nameNote       string
	secret, secretNote   string
	userKey, passwordKey string
	keyNote              string
}

// guess looks at the StatefulSet's containers: image, ports and variables for the engine, the ports, and the variables that the
// engine's official image and the common charts read.
func guess(live Live) database {
	c, d, note := container(live.StatefulSet)
	db := database{dialect: d, engineNote: note, port: d.defaultPort, name: d.defaultName, userKey: plan.DefaultUsernameKey, passwordKey: plan.DefaultPasswordKey}
	db.portNote = Check + ": no container port says " + string(d.engine)
	for _, p := range c.Ports {
		if p.ContainerPort == d.defaultPort || says(p.Name, d.portNames) {
			db.port, db.portNote = p.ContainerPort, ""
			break
		}
	}
	db.nameNote = Check + ": the container does not say which database"
	if k := configKey(c, d.nameVars...); k != nil {
		db.nameNote = FillIn + ": the container reads it from ConfigMap " + k.Name + ", key " + k.Key
	}
	if v := literal(c, d.nameVars...); v != "" {
		db.name, db.nameNote = v, ""
	}
	secretOf(live, c, &db)
	return db
}

func says(text string, words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(text), w) })
}

// literal is the value of the first of the variables that has one.
func literal(c corev1.Container, names ...string) string {
	for _, e := range c.Env {
		if slices.Contains(names, e.Name) && e.Value != "" && len(e.Value) <= 63 {
			return e.Value
		}
	}
	return ""
}

// configKey is the ConfigMap's key that the first of the variables reads.
func configKey(c corev1.Container, names ...string) *corev1.ConfigMapKeySelector {
	for _, e := range c.Env {
		if slices.Contains(names, e.Name) && e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
			return e.ValueFrom.ConfigMapKeyRef
		}
	}
	return nil
}

// secretOf finds the Secret with the credentials: the one that the container's variables name, else one that has the usual keys.
func secretOf(live Live, c corev1.Container, db *database) {
	key := func(names ...string) *corev1.SecretKeySelector {
		for _, e := range c.Env {
			if slices.Contains(names, e.Name) && e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				return e.ValueFrom.SecretKeyRef
			}
		}
		return nil
	}
	if k := key(db.passwordVars...); k != nil {
		db.secret, db.passwordKey = k.Name, k.Key
		db.secretNote = Check + ": what the container reads; " + db.itsUser
		db.keyNote = Check
		if u := key(db.userVars...); u != nil && u.Name == k.Name {
			db.userKey, db.keyNote = u.Key, ""
		}
		return
	}
	for _, s := range live.Secrets {
		if slices.Contains(s.Keys, plan.DefaultUsernameKey) && slices.Contains(s.Keys, plan.DefaultPasswordKey) {
			db.secret, db.secretNote = s.Name, Check+": it has the keys username and password"
			return
		}
	}
	db.secret, db.secretNote = "fill-in", FillIn+": the Secret with the credentials of a role that may only read"
}

// storage lists the storage classes of the workload's claims as "name (provisioner)", and their provisioners.
func storage(live Live) (classes, provisioners []string) {
	var names []string
	own := map[string]bool{}
	for _, t := range live.StatefulSet.Spec.VolumeClaimTemplates {
		own[t.Name+"-"+live.StatefulSet.Name+"-"] = true
		if n := t.Spec.StorageClassName; n != nil {
			names = append(names, *n)
		}
	}
	for _, c := range live.Claims {
		for prefix := range own {
			if strings.HasPrefix(c.Name, prefix) && c.Spec.StorageClassName != nil {
				names = append(names, *c.Spec.StorageClassName)
			}
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		text := name
		for _, sc := range live.StorageClasses {
			if sc.Name == name {
				text += " (" + sc.Provisioner + ")"
				provisioners = append(provisioners, sc.Provisioner)
			}
		}
		classes = append(classes, text)
	}
	slices.Sort(provisioners)
	return classes, slices.Compact(provisioners)
}

type deployment struct{ namespace, name string }

// controller finds the Deployment that runs a csi-provisioner, or is called a CSI controller, and names the driver; one
// that does not name it is a guess.
func controller(live Live, provisioners []string) (*deployment, string) {
	var maybe *deployment
	for _, d := range live.Deployments {
		provisioner, named := false, false
		for _, c := range d.Spec.Template.Spec.Containers {
			provisioner = provisioner || strings.Contains(c.Image, "csi-provisioner") || c.Name == "csi-provisioner"
			text := strings.Join(append(append([]string{c.Image}, c.Args...), c.Command...), " ")
			for _, e := range c.Env {
				text += " " + e.Value
			}
			named = named || slices.ContainsFunc(provisioners, func(p string) bool { return strings.Contains(text, p) })
		}
		provisioner = provisioner || (strings.Contains(d.Name, "csi") && strings.Contains(d.Name, "controller"))
		if !provisioner {
			continue
		}
		found := &deployment{d.Namespace, d.Name}
		if named || (slices.Contains(provisioners, "ebs.csi.aws.com") && d.Name == "ebs-csi-controller") {
			return found, ""
		}
		if maybe == nil {
			maybe = found
		}
	}
	return maybe, Check + ": it looks like a CSI controller, but does not name the driver"
}
