package stack

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/kwok"
	"fallbackchain.io/fallback/infra/local/nodeagent"
	"fallbackchain.io/fallback/infra/local/pki"
	"fallbackchain.io/fallback/infra/local/process"
)

// component is a program of the stack and how to see that it works.
type component struct {
	spec process.Spec
	// health is a URL that answers 200 when it works; empty: it is enough that it runs.
	health string
	// socket is a unix socket that accepts connections when it works.
	socket string
}

// serviceRange holds the cluster IPs; the API server's own is its first address.
const serviceRange = "10.96.0.0/16"

// components are all programs in the order of their start, which is the reverse order of their end. Databases run as db.
func components(l Layout, r record, db nodeagent.Identity, k key) []component {
	kc := append([]component{objectStore(l, r, k)}, controlPlane(l, r)...)
	add := func(name string, grace time.Duration, health string, args ...string) {
		kc = append(kc, component{health: health, spec: process.Spec{
			Name: name, Path: l.bin(name), Args: args, Dir: l.Dir, Log: l.Log(name), Grace: grace, Restart: true,
		}})
	}
	add(Kwok, 3*time.Second, url(r.Ports[portKwok], "/healthz"), kwok.Args(kwok.Flags{
		Kubeconfig: l.kubeconfig(Kwok), Cert: l.pki("components.crt"), Key: l.pki("components.key"), Port: r.Ports[portKwok],
	})...)
	add(SnapshotController, 3*time.Second, "",
		"--kubeconfig", l.kubeconfig(SnapshotController), "--leader-election=false", "--v=2",
		"--kube-api-qps=100", "--kube-api-burst=200", "--retry-interval-start=500ms")
	add(NodeAgent, 15*time.Second, "",
		"--kubeconfig", l.kubeconfig(NodeAgent), "--csi-socket", l.CSISocket(), "--volumes-dir", volumesDir(l), "--state-dir", l.agent(),
		"--bin-dir", l.in("bin"), "--run-as-uid", strconv.Itoa(db.UID), "--run-as-gid", strconv.Itoa(db.GID))
	add(Velero, 10*time.Second, "http://"+local(r.Ports[portVelero])+"/metrics", veleroArgs(l, r)...)
	kc[len(kc)-1].spec.Env = veleroEnv(l)
	for i := range kc {
		kc[i].spec.Env = append(kc[i].spec.Env, collector...)
	}
	return kc
}

// collector has the components' garbage collectors run less often while their heaps are small: a stack computes about a tenth less.
// https://pkg.go.dev/runtime#hdr-Environment_Variables
var collector = []string{"GOGC=400", "GOMEMLIMIT=1GiB"}

// objectStore is the S3 server, which keeps objects as files and their earlier versions beside them.
func objectStore(l Layout, r record, k key) component {
	address := local(r.Ports[portS3])
	return component{health: "http://" + address + s3Health, spec: process.Spec{
		Name: S3, Path: l.bin(S3), Dir: l.Dir, Log: l.Log(S3), Grace: 5 * time.Second, Restart: true,
		Env: []string{"ROOT_ACCESS_KEY=" + k.access, "ROOT_SECRET_KEY=" + k.secret},
		Args: []string{"--port", address, "--region", Region, "--health", s3Health, "--quiet",
			"posix", "--versioning-dir", l.s3Versions(), l.s3Objects()},
	}}
}

// s3Health is a path that no bucket can have, for a bucket's name has no underscore.
const s3Health = "/_healthz"

// controlPlane are the programs the others need.
func controlPlane(l Layout, r record) []component {
	etcd := fmt.Sprintf("https://127.0.0.1:%d", r.Ports[portEtcd])
	peer := fmt.Sprintf("http://127.0.0.1:%d", r.Ports[portEtcdPeer])
	p := l.pki
	spec := func(name string, grace time.Duration, args ...string) process.Spec {
		return process.Spec{Name: name, Path: l.bin(name), Args: args, Dir: l.Dir, Log: l.Log(name), Grace: grace, Restart: true}
	}
	controller := func(name string, port int, args ...string) component {
		k := l.kubeconfig(name)
		return component{health: url(port, "/healthz"), spec: spec(name, 5*time.Second, append([]string{
			"--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(port),
			"--tls-cert-file", p("components.crt"), "--tls-private-key-file", p("components.key"),
			"--kubeconfig", k, "--authentication-kubeconfig", k, "--authorization-kubeconfig", k,
			// Without it the program reads a ConfigMap that may not be there yet and exits, or waits for seconds.
			"--authentication-skip-lookup", "--leader-elect=false", "--profiling=false",
		}, args...)...)}
	}
	return []component{
		{spec: spec(Etcd, 5*time.Second,
			"--name", "local", "--data-dir", l.etcd(), "--log-level", "warn",
			// The data survives a crash of any process; only a crash of the machine may lose the last writes.
			"--unsafe-no-fsync",
			// A request may take 5 s and two election timeouts (https://github.com/etcd-io/etcd/blob/v3.6.0/server/config/config.go, ReqTimeout):
			// on a machine where much else runs, one second is none.
			"--heartbeat-interval", "500", "--election-timeout", "5000",
			"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "local="+peer,
			"--cert-file", p("etcd.crt"), "--key-file", p("etcd.key"), "--client-cert-auth", "--trusted-ca-file", p("ca.crt"))},
		{health: serverURL(r) + "/readyz", spec: spec(APIServer, 10*time.Second,
			"--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(r.Ports[portAPIServer]), "--endpoint-reconciler-type", "none",
			"--etcd-servers", etcd, "--etcd-cafile", p("ca.crt"), "--etcd-certfile", p("apiserver-etcd-client.crt"), "--etcd-keyfile", p("apiserver-etcd-client.key"),
			"--client-ca-file", p("ca.crt"), "--tls-cert-file", p("apiserver.crt"), "--tls-private-key-file", p("apiserver.key"),
			"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", p("sa.key"), "--service-account-signing-key-file", p("sa.key"),
			"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--service-cluster-ip-range", serviceRange,
			"--kubelet-client-certificate", p("apiserver-kubelet-client.crt"), "--kubelet-client-key", p("apiserver-kubelet-client.key"),
			"--kubelet-certificate-authority", p("ca.crt"), "--kubelet-preferred-address-types", "InternalIP",
			"--requestheader-client-ca-file", p("front-proxy-ca.crt"), "--requestheader-allowed-names", "front-proxy-client",
			"--requestheader-extra-headers-prefix", "X-Remote-Extra-", "--requestheader-group-headers", "X-Remote-Group", "--requestheader-username-headers", "X-Remote-User",
			"--proxy-client-cert-file", p("front-proxy-client.crt"), "--proxy-client-key-file", p("front-proxy-client.key"),
			"--audit-policy-file", l.auditPolicy(), "--audit-log-path", l.AuditLog(), "--audit-log-format", "json",
			"--audit-log-maxsize", "200", "--audit-log-maxbackup", "2", "--profiling=false")},
		{socket: l.CSISocket(), spec: spec(CSIDriver, 5*time.Second,
			"--endpoint", l.CSISocket(), "--state-dir", l.CSIState(), "--driver-name", DriverName)},
		controller(ControllerManager, r.Ports[portManager],
			"--service-account-private-key-file", p("sa.key"), "--root-ca-file", p("ca.crt"), "--use-service-account-credentials",
			"--cluster-signing-cert-file", p("ca.crt"), "--cluster-signing-key-file", p("ca.key"),
			"--kube-api-qps", "200", "--kube-api-burst", "400",
			// By default the controller looks once a minute whether a volume is still attached: a detached one of a dead node would
			// be attached again only then.
			"--attach-detach-reconcile-sync-period", "5s"),
		controller(Scheduler, r.Ports[portScheduler], "--kube-api-qps", "200", "--kube-api-burst", "400"),
	}
}

func url(port int, path string) string { return fmt.Sprintf("https://127.0.0.1:%d%s", port, path) }

func serverURL(r record) string { return url(r.Ports[portAPIServer], "") }

// clients are the identities that get a kubeconfig. The API server's built-in roles are bound to the names of the controller
// manager and the scheduler; the others play parts that a cluster gives wide rights (a kubelet of every node, a storage
// system's controllers), so they are administrators under names of their own, which tells them apart in the audit log.
func clients() map[string]pki.Identity {
	masters := []string{"system:masters"}
	return map[string]pki.Identity{
		admin:              {User: "local-admin", Groups: masters},
		ControllerManager:  {User: "system:kube-controller-manager"},
		Scheduler:          {User: "system:kube-scheduler"},
		Kwok:               {User: "local:kwok", Groups: masters},
		SnapshotController: {User: "local:snapshot-controller", Groups: masters},
		NodeAgent:          {User: "local:node-agent", Groups: masters},
		Velero:             {User: "local:velero", Groups: masters},
		"local-stack":      {User: "local:stack", Groups: masters},
	}
}

// admin is the administrator's kubeconfig. It has a context for each function besides, so that a run can let each step connect as itself.
const admin = "admin"

// functions are the identities of the functions: on EKS an access entry gives the function's role its group, here a certificate does.
func functions() []pki.As {
	var out []pki.As
	for _, f := range kubernetes.Functions() {
		out = append(out, pki.As{Context: kubernetes.Group(f), Name: "function-" + f,
			Identity: pki.Identity{User: "local:function:" + f, Groups: []string{kubernetes.Group(f)}}})
	}
	return out
}

// writePKI makes what is missing of the certificates and writes the kubeconfigs, whose server may have changed its port.
func writePKI(l Layout, r record) error {
	dir := l.in("pki")
	ca, err := pki.OpenAuthority(dir, "ca", time.Now)
	if err != nil {
		return err
	}
	frontProxy, err := pki.OpenAuthority(dir, "front-proxy-ca", time.Now)
	if err != nil {
		return err
	}
	loopback := net.IPv4(127, 0, 0, 1)
	for name, s := range map[string]struct {
		dns []string
		ips []net.IP
	}{
		"etcd":       {[]string{"localhost"}, []net.IP{loopback}},
		"components": {[]string{"localhost"}, []net.IP{loopback}},
		"apiserver": {[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
			[]net.IP{loopback, net.IPv4(10, 96, 0, 1)}},
	} {
		if err := ca.Server(name, s.dns, s.ips...); err != nil {
			return err
		}
	}
	for name, id := range map[string]pki.Identity{
		"apiserver-etcd-client":    {User: "apiserver-etcd-client"},
		"apiserver-kubelet-client": {User: "apiserver-kubelet-client", Groups: []string{"system:masters"}},
	} {
		if _, _, err := ca.Client(name, id); err != nil {
			return err
		}
	}
	if _, _, err := frontProxy.Client("front-proxy-client", pki.Identity{User: "front-proxy-client"}); err != nil {
		return err
	}
	if err := pki.SigningKey(dir, "sa"); err != nil {
		return err
	}
	if err := os.MkdirAll(l.in("kubeconfig"), 0o700); err != nil {
		return err
	}
	for name, id := range clients() {
		var others []pki.As
		if name == admin {
			others = functions()
		}
		if err := ca.Kubeconfig(l.kubeconfig(name), "client-"+name, clusterName(r), serverURL(r), id, others...); err != nil {
			return err
		}
	}
	return nil
}

func clusterName(r record) string { return "fallback-" + r.Name }
