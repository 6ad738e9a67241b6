package lambdaboot

import (
	"errors"
	"fmt"
	"os"
	"regexp"
)

// Env reads a function's environment and collects all that is wrong with it.
type Env struct {
	lookup func(string) (string, bool)
	bad    []error
}

// NewEnv reads through lookup, which is os.LookupEnv in a function.
func NewEnv(lookup func(string) (string, bool)) *Env { return &Env{lookup: lookup} }

// Required reads a variable that must be set; want says what it is, for the error.
func (e *Env) Required(name, want string) string {
	v, _ := e.lookup(name)
	if v == "" {
		e.bad = append(e.bad, fmt.Errorf("environment variable %s is not set: expected %s", name, want))
	}
	return v
}

// Optional reads a variable that may be empty.
func (e *Env) Optional(name string) string {
	v, _ := e.lookup(name)
	return v
}

// ARN reads a variable that must hold an ARN of the service; kind is what its resource begins with, e.g. "stateMachine:".
// Form: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html.
func (e *Env) ARN(name, service, kind string) string {
	want := fmt.Sprintf("the ARN arn:aws:%s:REGION:ACCOUNT:%s…", service, kind)
	v := e.Required(name, want)
	form := regexp.MustCompile(`^arn:aws[a-z-]*:` + regexp.QuoteMeta(service) + `:[a-z0-9-]+:[0-9]{12}:` + regexp.QuoteMeta(kind) + `.+$`)
	if v != "" && !form.MatchString(v) {
		e.bad = append(e.bad, fmt.Errorf("environment variable %s is %q: expected %s", name, v, want))
	}
	return v
}

// Err is every mistake at once, or nil.
func (e *Env) Err() error { return errors.Join(e.bad...) }

// Exit ends a function that cannot start, each mistake on a line of its own in the log.
func Exit(err error) {
	log := NewLogger()
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		for _, e := range all.Unwrap() {
			log.Error("the function cannot start", "error", e)
		}
	} else {
		log.Error("the function cannot start", "error", err)
	}
	os.Exit(1)
}
