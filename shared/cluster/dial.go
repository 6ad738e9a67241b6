package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // client-go 0.36 takes and returns these types
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// DialPod connects to a port of a pod through the Kubernetes API's port-forward, so that no route to the pod is needed and a
// quarantine stays closed. The pod is checked by UID before the connection is made: a pod of the same name that came later
// is refused. As with net.Dialer, ctx bounds the dialling only. The streams know no deadlines (client-go), so one that passes
// closes the connection.
// Websocket needs get and create on pods/portforward, SPDY (the fallback, for older servers and proxies) only create.
func (c *Client) DialPod(ctx context.Context, namespace, pod string, uid types.UID, port int) (net.Conn, error) {
	p, err := Get[corev1.Pod](ctx, c, Pods, namespace, pod)
	if err != nil {
		return nil, err
	}
	if p.UID != uid {
		return nil, fmt.Errorf("pod %s/%s is another one now: UID %s, expected %s", namespace, pod, p.UID, uid)
	}
	base, _, err := rest.DefaultServerUrlFor(c.Config)
	if err != nil {
		return nil, err
	}
	u := base.JoinPath("api", "v1", "namespaces", namespace, "pods", pod, "portforward")
	ws, err := portforward.NewSPDYOverWebsocketDialer(u, c.Config)
	if err != nil {
		return nil, err
	}
	rt, upgrader, err := spdy.RoundTripperFor(c.Config)
	if err != nil {
		return nil, err
	}
	d := portforward.NewFallbackDialer(ws, spdy.NewDialer(upgrader, &http.Client{Transport: rt}, http.MethodPost, u),
		func(err error) bool { return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) })
	leave := c.Busy.Enter()
	conn, err := dialStream(ctx, d, port)
	if err != nil {
		leave()
		return nil, err
	}
	return busyConn{conn, leave}, nil
}

// dialStream opens the error and the data stream of one forwarded connection.
func dialStream(ctx context.Context, d httpstream.Dialer, port int) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	// The dialer takes no context; what it returns too late is closed.
	ch := make(chan result, 1)
	go func() {
		conn, err := openStreams(d, port)
		ch <- result{conn, err}
	}()
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, r.err
		}
		return r.conn, nil
	case <-ctx.Done():
		go func() {
			if r := <-ch; r.conn != nil {
				_ = r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func openStreams(d httpstream.Dialer, port int) (net.Conn, error) {
	conn, _, err := d.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	h.Set(corev1.PortHeader, strconv.Itoa(port))
	h.Set(corev1.PortForwardRequestIDHeader, "0")
	es, err := conn.CreateStream(h)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = es.Close() // nothing is written to it; the remote side still writes its errors
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	ds, err := conn.CreateStream(h)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	pc := &podConn{Stream: ds, conn: conn}
	go pc.readErrors(es)
	return pc, nil
}

// podConn is a forwarded connection as a net.Conn.
type podConn struct {
	httpstream.Stream
	conn httpstream.Connection
	mu   sync.Mutex
	// expire closes the connection at its deadline; nil when it has none.
	expire *time.Timer
	// remote is what the kubelet said on the error stream.
	remote error
}

func (c *podConn) readErrors(es httpstream.Stream) {
	b := make([]byte, 4096)
	if n, _ := es.Read(b); n > 0 {
		c.mu.Lock()
		c.remote = fmt.Errorf("port-forward: %s", b[:n])
		c.mu.Unlock()
		_ = c.conn.Close()
	}
}

func (c *podConn) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.remote != nil {
			return n, c.remote
		}
	}
	return n, err
}

func (c *podConn) Close() error {
	_ = c.SetDeadline(time.Time{})
	return errors.Join(c.Stream.Close(), c.conn.Close())
}

func (c *podConn) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (c *podConn) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (c *podConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *podConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetDeadline closes the connection at t, at once when t has passed; the zero time takes the deadline away.
func (c *podConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expire != nil {
		c.expire.Stop()
		c.expire = nil
	}
	if !t.IsZero() {
		c.expire = time.AfterFunc(time.Until(t), func() { _ = errors.Join(c.Stream.Close(), c.conn.Close()) })
	}
	return nil
}
