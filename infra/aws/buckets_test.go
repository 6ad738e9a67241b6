package aws_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestBuckets: each is kept with the stack's end, versioned, closed to the public and to plain HTTP, encrypted by the stack's key where
// there is one, and does not grow for ever; reports may be locked.
func TestBuckets(t *testing.T) {
	d := read(t)
	buckets := 0
	for name, r := range d.Resources {
		if r.Type != "AWS::S3::Bucket" {
			continue
		}
		buckets++
		var b struct {
			BucketEncryption struct {
				ServerSideEncryptionConfiguration []struct {
					BucketKeyEnabled              bool
					ServerSideEncryptionByDefault struct{ SSEAlgorithm, KMSMasterKeyID []string }
				}
			}
			OwnershipControls struct {
				Rules []struct{ ObjectOwnership string }
			}
			PublicAccessBlockConfiguration map[string]bool
			VersioningConfiguration        struct{ Status string }
			LifecycleConfiguration         struct {
				Rules []struct {
					ID, Status                     string
					ExpirationInDays               string
					NoncurrentVersionExpiration    struct{ NoncurrentDays int }
					AbortIncompleteMultipartUpload struct{ DaysAfterInitiation int }
				}
			}
			ObjectLockEnabled, ObjectLockConfiguration []json.RawMessage
		}
		decode(t, r.Properties, &b)
		e := b.BucketEncryption.ServerSideEncryptionConfiguration
		if len(e) != 1 || !slices.Equal(e[0].ServerSideEncryptionByDefault.SSEAlgorithm, []string{"HasKey", "aws:kms", "AES256"}) ||
			!slices.Equal(e[0].ServerSideEncryptionByDefault.KMSMasterKeyID, []string{"HasKey", "KmsKeyArn", "AWS::NoValue"}) {
			t.Errorf("%s is encrypted by %+v", name, e)
		}
		closed := slices.Sorted(maps.Keys(b.PublicAccessBlockConfiguration))
		if len(closed) != 4 || slices.Contains(slices.Collect(maps.Values(b.PublicAccessBlockConfiguration)), false) || b.OwnershipControls.Rules[0].ObjectOwnership != "BucketOwnerEnforced" ||
			b.VersioningConfiguration.Status != "Enabled" || r.DeletionPolicy != "Retain" || r.UpdateReplacePolicy != "Retain" {
			t.Errorf("%s: %+v, %s, %s", name, b, r.DeletionPolicy, r.UpdateReplacePolicy)
		}
		expires, parts := "", 0
		for _, rule := range b.LifecycleConfiguration.Rules {
			if rule.Status != "Enabled" {
				t.Errorf("%s: the rule %s is %s", name, rule.ID, rule.Status)
			}
			if rule.NoncurrentVersionExpiration.NoncurrentDays > 0 {
				expires = rule.ExpirationInDays
			}
			parts += rule.AbortIncompleteMultipartUpload.DaysAfterInitiation
		}
		if want := map[string]string{"JournalBucket": "JournalDays", "EvidenceBucket": "EvidenceDays"}[name]; expires != want || parts == 0 {
			t.Errorf("%s: current objects expire after %q, expected %q; unfinished uploads after %d days", name, expires, want, parts)
		}
		if locks := b.ObjectLockEnabled != nil && b.ObjectLockConfiguration != nil; locks != (name == "EvidenceBucket") {
			t.Errorf("%s: may be locked %t", name, locks)
		}
		tls := false
		for _, st := range d.statements(t) {
			tls = tls || st.From == name+"Policy" && st.Effect == "Deny" && st.Principal == "*" && st.Condition["Bool"]["aws:SecureTransport"] == "false" &&
				slices.Equal(texts(st.Resource), []string{name + ".Arn", "${" + name + ".Arn}/*"})
		}
		if !tls {
			t.Errorf("%s answers plain HTTP", name)
		}
	}
	if buckets != 3 {
		t.Errorf("%d buckets", buckets)
	}
}

// TestGuide: each parameter is asked for in a group, says what it is, and has a default, so that `sam deploy --guided` is all.
func TestGuide(t *testing.T) {
	text := string(source(t))
	_, after, _ := strings.Cut(text, "ParameterGroups:")
	groups, _, _ := strings.Cut(after, "\nParameters:")
	var ps map[string]struct {
		Type, Description string
		Default           any
	}
	decode(t, read(t).Parameters, &ps)
	for name, p := range ps {
		if strings.Count(groups, name+",")+strings.Count(groups, name+"]") == 0 || p.Description == "" || p.Default == nil {
			t.Errorf("%s: %+v: expected a group, a description and a default", name, p)
		}
	}
}
