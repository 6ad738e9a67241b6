package awsrun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/run"
	"fallbackchain.io/fallback/statemachine/asl"
	"fallbackchain.io/fallback/statemachine/graph"
)

const account = "123456789012"

// edge is what stands between a test and moto, and between moto's Step Functions engine and the functions: it forwards
// every call to moto, answers Lambda invocations itself (moto would need a container engine), cuts the history into pages,
// which moto does not, and throttles when told to.
type edge struct {
	moto *httputil.ReverseProxy

	mu sync.Mutex
	// answer is what a function says to a task; a *faultAnswer is an error.
	answer func(req run.Request) (json.RawMessage, *faultAnswer)
	// page is how many events a page of the history has at most; 0 for as many as asked for.
	page int
	// throttle refuses the next so many calls of an operation.
	throttle map[string]int
	// expire makes the next so many page tokens expired ones.
	expire int
	// calls counts the calls of each operation.
	calls map[string]int
}

type faultAnswer struct{ code, message string }

var invocation = regexp.MustCompile(`^/2015-03-31/functions/[^/]+/invocations$`)

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if invocation.MatchString(r.URL.Path) {
		e.invoke(w, r)
		return
	}
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSStepFunctions.")
	e.mu.Lock()
	e.calls[op]++
	refused := e.throttle[op] > 0
	if refused {
		e.throttle[op]--
	}
	e.mu.Unlock()
	switch {
	case refused:
		refuse(w, "ThrottlingException", "Rate exceeded")
	case op == "GetExecutionHistory":
		e.history(w, r)
	default:
		e.moto.ServeHTTP(w, r)
	}
}

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, `{"__type":%q,"message":%q}`, code, message)
}

// invoke answers as Lambda does (https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html).
func (e *edge) invoke(w http.ResponseWriter, r *http.Request) {
	var req run.Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	answer := e.answer
	e.mu.Unlock()
	section, f := answer(req)
	if f != nil {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		section, _ = json.Marshal(map[string]string{"errorType": f.code, "errorMessage": f.message})
	}
	_, _ = w.Write(section)
}

// history pages what moto returns whole, as the API does: the token is of a place in the history, and stays good for it
// (https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html).
func (e *edge) history(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var in struct {
		NextToken    string `json:"nextToken"`
		MaxResults   int    `json:"maxResults"`
		ReverseOrder bool   `json:"reverseOrder"`
	}
	_ = json.Unmarshal(body, &in)
	from := 0
	if in.NextToken != "" {
		from, _ = strconv.Atoi(in.NextToken)
		e.mu.Lock()
		expired := e.expire > 0
		if expired {
			e.expire--
		}
		e.mu.Unlock()
		if expired {
			refuse(w, "InvalidToken", "the token has expired")
			return
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	rec := httptest.NewRecorder()
	e.moto.ServeHTTP(rec, r)
	var out map[string]json.RawMessage
	var all []json.RawMessage
	if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &out) != nil || json.Unmarshal(out["events"], &all) != nil {
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
		return
	}
	size := in.MaxResults
	if e.page > 0 {
		size = e.page
	}
	if in.ReverseOrder {
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
	}
	to := min(from+size, len(all))
	page := map[string]any{"events": all[from:to]}
	if to < len(all) {
		page["nextToken"] = strconv.Itoa(to)
	}
	_ = json.NewEncoder(w).Encode(page)
}

func (e *edge) count(op string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[op]
}

// newEdge starts moto on a free port of loopback, with an edge in front of it, until the test ends.
func newEdge(t testing.TB) (*edge, *sfn.Client) {
	t.Helper()
	e := &edge{throttle: map[string]int{}, calls: map[string]int{}}
	front := httptest.NewServer(e)
	t.Cleanup(front.Close)

	// The engine calls the functions at MOTO_PORT: that is the edge.
	base := awstest.Start(t, "MOTO_PORT="+front.URL[strings.LastIndexByte(front.URL, ':')+1:])
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	e.moto = httputil.NewSingleHostReverseProxy(target)
	awstest.Execute(t, base)
	return e, sfn.New(sfn.Options{Region: "us-east-1", BaseEndpoint: aws.String(front.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
}

// create renders the graph and makes a state machine of it.
func create(t testing.TB, c *sfn.Client, g *graph.Graph) (machineARN string) {
	t.Helper()
	m, err := g.Expand()
	if err != nil {
		t.Fatal(err)
	}
	text, err := asl.Render(g)
	if err != nil {
		t.Fatal(err)
	}
	definition := string(text)
	for _, f := range m.Functions() {
		definition = strings.ReplaceAll(definition, asl.Resource(f), "arn:aws:lambda:us-east-1:"+account+":function:"+f)
	}
	out, err := c.CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{
		Name: aws.String("fallback-chain"), Definition: aws.String(definition), RoleArn: aws.String("arn:aws:iam::" + account + ":role/fallback"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.StateMachineArn)
}
