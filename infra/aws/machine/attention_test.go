package machine_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"fallbackchain.io/fallback/functions/intake"
	"fallbackchain.io/fallback/shared/awstest"
)

// deployAttention makes the template's topic and a queue that is subscribed to it.
func (b *bed) deployAttention() {
	t := b.t
	p := b.template.Properties("NotRecoveredRule")
	targets, _ := p["Targets"].([]any)
	if len(targets) != 1 {
		t.Fatalf("NotRecoveredRule has the targets %v, want the topic", targets)
	}
	topic, _ := targets[0].(map[string]any)["Arn"].(string)
	var queue struct{ QueueUrl string }
	b.json(t, "sqs", "AmazonSQS", region, "CreateQueue", map[string]any{"QueueName": "attention"}, &queue)
	b.attention = queue.QueueUrl
	for _, call := range []struct {
		action string
		form   url.Values
	}{
		{"CreateTopic", url.Values{"Name": {topic[strings.LastIndex(topic, ":")+1:]}}},
		{"Subscribe", url.Values{"TopicArn": {topic}, "Protocol": {"sqs"}, "Endpoint": {"arn:aws:sqs:" + region + ":" + awstest.Account + ":attention"}}},
	} {
		said, err := b.query("sns", "2010-03-31", region, call.action, call.form)
		if err != nil || !strings.Contains(string(said), topic) {
			t.Fatalf("%s of %s: %s %v", call.action, topic, said, err)
		}
	}
}

// tells puts the event of an execution that ended by the graph on the bus: the topic's subscribers are told of it, and the janitor is not
// asked.
func (b *bed) tells(t *testing.T, execution, id, outcome string) {
	t.Helper()
	since := len(b.answers(t))
	b.happens(t, b.status(t, execution))
	if answer := b.takes(t, since, 1)[0]; answer.Action != intake.Ignored {
		t.Errorf("intake: %+v, want %s", answer, intake.Ignored)
	}
	b.told(t, id, "FAILED", outcome, 1)
}

// silent puts the event of an execution that recovered on the bus: nobody is told.
func (b *bed) silent(t *testing.T, execution string) {
	t.Helper()
	since := len(b.answers(t))
	b.happens(t, b.status(t, execution))
	if said := b.messages(t); len(said) > 0 {
		t.Errorf("the topic says %q of a run that recovered", said)
	}
	if len(b.answers(t)) > since {
		t.Errorf("intake heard of a run that recovered")
	}
}

var link = regexp.MustCompile(`https://` + region + `\.console\.aws\.amazon\.com/s3/object/([^?]+)\?region=` + region + `&prefix=([^\s"]+)`)

// told reads what the subscribers were told: n times the run, its outcome, and the link of a report that is there.
func (b *bed) told(t *testing.T, id, status, outcome string, n int) {
	t.Helper()
	said := b.messages(t)
	if len(said) != n {
		t.Errorf("the topic says %q, want %d messages", said, n)
	}
	for _, text := range said {
		first, _, _ := strings.Cut(text, "\n")
		if want := "Run " + id + " did not recover: " + status + " " + outcome + "."; first != want {
			t.Errorf("the message begins %q, want %q", first, want)
		}
		at := link.FindStringSubmatch(text)
		if at == nil {
			t.Errorf("the message has no link: %s", text)
			continue
		}
		if at[1] != "evidence" || !strings.Contains(at[2], id) {
			t.Errorf("the link is %s", at[0])
		}
		if _, err := b.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(at[1]), Key: aws.String(at[2])}); err != nil {
			t.Errorf("nothing is at %s: %v", at[0], err)
		}
	}
}

// messages takes everything from the queue. Rules, topic and queue of moto are done with an event when PutEvents answers.
func (b *bed) messages(t *testing.T) (out []string) {
	t.Helper()
	for {
		var got struct {
			Messages []struct{ Body, ReceiptHandle string }
		}
		b.json(t, "sqs", "AmazonSQS", region, "ReceiveMessage", map[string]any{"QueueUrl": b.attention, "MaxNumberOfMessages": 10}, &got)
		if len(got.Messages) == 0 {
			return out
		}
		for _, m := range got.Messages {
			var notification struct{ Type, Message string }
			if err := json.Unmarshal([]byte(m.Body), &notification); err != nil || notification.Type != "Notification" {
				t.Fatalf("the queue has %s (%v)", m.Body, err)
			}
			// What is only received comes again after the queue's visibility timeout, half a minute later, in another scenario.
			b.json(t, "sqs", "AmazonSQS", region, "DeleteMessage", map[string]any{"QueueUrl": b.attention, "ReceiptHandle": m.ReceiptHandle}, &struct{}{})
			out = append(out, notification.Message)
		}
	}
}
