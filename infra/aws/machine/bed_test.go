package machine_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"sigs.k8s.io/aws-iam-authenticator/pkg/token"

	"fallbackchain.io/fallback/functions/seal"
	"fallbackchain.io/fallback/infra/aws/rights"
	"fallbackchain.io/fallback/infra/kubernetes"
	"fallbackchain.io/fallback/infra/local/authn"
	"fallbackchain.io/fallback/infra/local/sample"
	"fallbackchain.io/fallback/infra/local/stack"
	"fallbackchain.io/fallback/infra/local/stack/stacktest"
	"fallbackchain.io/fallback/shared/awstest"
	"fallbackchain.io/fallback/shared/cluster"
	"fallbackchain.io/fallback/shared/run"
)

// Names of the deployment.
const (
	stackName = "fallback-chain"
	eksName   = "main"
	// region is the chain's, another than that of the health check.
	region = "eu-central-1"
)

var root = filepath.Join("..", "..", "..")

// bed is the whole deployment on this machine.
type bed struct {
	t         *testing.T
	host      *awstest.Host
	cloud     *awstest.Cloud
	recorder  *rights.Recorder
	webhook   *authn.Webhook
	template  *rights.Stack
	functions []rights.Function
	keys      map[string]aws.Credentials // by function: "assess"
	sfn       *sfn.Client
	s3        *s3.Client
	machine   string // its ARN
	script    script
	attention string // the URL of the queue that is subscribed to the topic
	sealed    <-chan seal.Result

	stack   *stack.Stack
	options sample.Options
	client  *cluster.Client // an administrator's
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, keys: map[string]aws.Credentials{}, script: script{lines: map[step]func(run.Run) awstest.Mishap{}}}
	b.host = awstest.NewHost(t)
	b.host.Decide = b.script.decide
	b.cloud = awstest.StartCloud(t, b.host.URL)
	b.sfn, b.s3 = sfn.NewFromConfig(b.config()), s3.NewFromConfig(b.config(), func(o *s3.Options) { o.UsePathStyle = true })
	for _, bucket := range []string{"plans", "journals", "evidence"} {
		if _, err := b.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucket), CreateBucketConfiguration: awstest.Located(region)}); err != nil {
			t.Fatal(err)
		}
	}
	b.deploy()
	built := make(chan error, 1)
	var bootstraps map[string]string
	go func() {
		var err error
		bootstraps, err = awstest.Bootstraps(t.Context())
		built <- err
	}()
	b.startCluster(b.authenticator())
	if _, err := sample.Backup(t.Context(), b.client, backup); err != nil {
		t.Fatal(err)
	}
	if err := <-built; err != nil {
		t.Fatal(err)
	}
	b.reachBackups()
	b.start(bootstraps)
	b.publish()
	b.deployRules()
	b.deployHealthCheck()
	b.deployAttention()
	b.sealed = b.seal()
	return b
}

// config reaches the cloud in the chain's Region.
func (b *bed) config() aws.Config {
	cfg := awstest.Config(b.cloud.URL)
	cfg.Region = region
	return cfg
}

// deploy reads the template, makes the roles and the state machine.
func (b *bed) deploy() {
	t := b.t
	template, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if b.template, err = rights.Load(template, rights.Deployed()); err != nil {
		t.Fatal(err)
	}
	if b.functions, err = b.template.Functions(); err != nil {
		t.Fatal(err)
	}
	b.recorder = &rights.Recorder{Cloud: b.speaksCBOR(), Functions: b.host.URL, Account: awstest.Account, Callers: map[string]string{}}
	identities := sts.NewFromConfig(b.config())
	for _, f := range b.functions {
		out, err := identities.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String(f.Role), RoleSessionName: aws.String(f.Name)})
		if err != nil {
			t.Fatal(err)
		}
		c := out.Credentials
		b.keys[f.Short()] = aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
		b.recorder.Callers[*c.AccessKeyId] = f.Short()
	}
	definition, err := os.ReadFile(filepath.Join(root, "statemachine", "fallback.asl.json"))
	if err != nil {
		t.Fatal(err)
	}
	b.machine = b.createMachine(stackName, string(definition))
}

// createMachine makes a state machine of a definition with the template's substitutions.
func (b *bed) createMachine(name, definition string) string {
	b.t.Helper()
	for k, v := range b.template.Substitutions() {
		definition = strings.ReplaceAll(definition, "${"+k+"}", v)
	}
	if strings.Contains(definition, "${") {
		b.t.Fatal("the template does not substitute everything in the definition")
	}
	out, err := b.sfn.CreateStateMachine(b.t.Context(), &sfn.CreateStateMachineInput{Name: aws.String(name), Definition: aws.String(definition),
		RoleArn: aws.String("arn:aws:iam::" + awstest.Account + ":role/machine")})
	if err != nil {
		b.t.Fatal(err)
	}
	return aws.ToString(out.StateMachineArn)
}

// authenticator starts what looks at tokens, and returns the API server's option for it.
func (b *bed) authenticator() stack.TokenWebhook {
	t := b.t
	front := authn.STS{
		Credentials: func(key string) (aws.Credentials, bool) {
			for _, c := range b.keys {
				if c.AccessKeyID == key {
					return c, true
				}
			}
			return aws.Credentials{}, false
		},
		Caller: func(ctx context.Context, c aws.Credentials) (authn.Caller, error) {
			cfg := b.config()
			cfg.Credentials = credentials.StaticCredentialsProvider{Value: c}
			out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			if err != nil {
				return authn.Caller{}, err
			}
			return authn.Caller{Account: *out.Account, Arn: *out.Arn, UserID: *out.UserId}, nil
		},
		Now: time.Now,
	}
	identities := httptest.NewServer(front)
	t.Cleanup(identities.Close)
	before := http.DefaultTransport
	http.DefaultTransport = authn.Divert(before, strings.TrimPrefix(identities.URL, "http://")) // the verifier's; it takes no other
	t.Cleanup(func() { http.DefaultTransport = before })
	entries := map[string]authn.Entry{}
	for _, f := range b.functions {
		if slices.Contains(kubernetes.Functions(), f.Short()) {
			entries[f.Role] = authn.Entry{User: "function:" + f.Short(), Groups: []string{kubernetes.Group(f.Short())}}
		}
	}
	b.webhook = &authn.Webhook{Verifier: token.NewVerifier(eksName, "aws", region), Entries: entries}
	srv := httptest.NewServer(b.webhook)
	t.Cleanup(srv.Close)
	path := filepath.Join(t.TempDir(), "webhook.kubeconfig")
	if err := authn.WriteKubeconfig(path, srv.URL); err != nil {
		t.Fatal(err)
	}
	return stack.TokenWebhook{Kubeconfig: path, Keep: time.Second}
}

// startCluster starts the local stack with the sample, and makes it EKS's cluster.
func (b *bed) startCluster(w stack.TokenWebhook) {
	t := b.t
	root := stacktest.Dir(t)
	dir := filepath.Join(root, "s")
	b.stack = stacktest.Up(t, stack.Options{Dir: dir, Tokens: w})
	b.options = sample.Options{Kubeconfig: b.stack.Kubeconfig(), StackDir: dir, Dir: filepath.Join(root, "sample")}
	if _, err := sample.Deploy(t.Context(), b.options); err != nil {
		t.Fatal(err)
	}
	var err error
	if b.client, err = cluster.FromKubeconfig(b.options.Kubeconfig, ""); err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(filepath.Join(dir, "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	b.cloud.Cluster(region, eksName, b.stack.Server(), authority)
}

// start hands the functions to the host, each with its own role's credentials and the template's environment.
func (b *bed) start(bootstraps map[string]string) {
	records := httptest.NewServer(b.recorder)
	b.t.Cleanup(records.Close)
	for _, f := range b.functions {
		c := b.keys[f.Short()]
		env := []string{"AWS_REGION=" + region, "AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey,
			"AWS_SESSION_TOKEN=" + c.SessionToken, "AWS_ENDPOINT_URL=" + records.URL, "AWS_EC2_METADATA_DISABLED=true", "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required",
			// STS is not called: tokens are signed for it as it is.
			"AWS_ENDPOINT_URL_STS=https://sts." + region + ".amazonaws.com"}
		for _, k := range slices.Sorted(maps.Keys(f.Environment)) {
			env = append(env, k+"="+f.Environment[k])
		}
		b.host.Add(awstest.Function{Name: f.Name, Program: bootstraps[f.Logical], Env: env, Timeout: f.Timeout, Reserved: f.Reserved})
	}
}

// invoke invokes a function as EventBridge does, and decodes its answer.
func (b *bed) invoke(t *testing.T, logical string, payload []byte, out any) {
	t.Helper()
	answer, failed, err := b.host.Invoke(stackName+"-"+logical, payload)
	if err == nil && failed {
		err = errors.New(string(answer))
	}
	if err == nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		t.Fatalf("%s: %v", logical, err)
	}
}
