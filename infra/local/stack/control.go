package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

// The supervisor answers HTTP with JSON on a unix socket in a directory that only its owner may enter.
const (
	pathStatus    = "/v1/status"
	pathStop      = "/v1/stop"
	pathRepair    = "/v1/repair"
	pathComponent = "/v1/components/{name}/{verb}"
)

// answer is the body of every reply but the status.
type answer struct {
	Error string `json:"error,omitempty"`
}

// stopGrace bounds a stop through the socket.
const stopGrace = time.Minute

// serve listens on the control socket. We hold the directory's lock, so a socket that is there is a dead supervisor's.
func (s *Stack) serve() error {
	path := s.layout.ControlSocket()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Status()) })
	mux.HandleFunc("POST "+pathStop, func(w http.ResponseWriter, _ *http.Request) {
		ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
		defer cancel()
		// The answer goes out before the stop ends the server and, with it, perhaps the process.
		reply(w, http.StatusAccepted, answer{})
		_ = http.NewResponseController(w).Flush()
		_ = s.Stop(ctx)
	})
	mux.HandleFunc("POST "+pathComponent, func(w http.ResponseWriter, r *http.Request) {
		var err error
		switch verb, name := r.PathValue("verb"), r.PathValue("name"); verb {
		case "stop":
			err = s.StopComponent(r.Context(), name)
		case "kill":
			err = s.KillComponent(name)
		case "start":
			err = s.StartComponent(r.Context(), name)
		default:
			err = fmt.Errorf("verb %q: expected start, stop or kill", verb)
		}
		conclude(w, err)
	})
	mux.HandleFunc("POST "+pathRepair, func(w http.ResponseWriter, r *http.Request) { conclude(w, s.Repair(r.Context())) })
	s.control = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.control.Serve(l) }()
	return nil
}

// conclude answers a command.
func conclude(w http.ResponseWriter, err error) {
	if err != nil {
		reply(w, http.StatusUnprocessableEntity, answer{Error: err.Error()})
		return
	}
	reply(w, http.StatusOK, answer{})
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
