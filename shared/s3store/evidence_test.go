package s3store

import (
	"testing"

	"fallbackchain.io/fallback/shared/awstest"
)

func TestEvidence(t *testing.T) {
	c := awstest.S3(t, awstest.Start(t), bucket)
	e := Evidence{S3: c, Bucket: bucket}
	if _, err := e.Get(t.Context(), runID, "rollbackpoint.json"); err == nil {
		t.Error("what was never written was read")
	}
	for _, content := range []string{`{"claims":[]}`, `{"claims":[1]}`} {
		uri, err := e.Put(t.Context(), runID, "rollbackpoint.json", []byte(content))
		if err != nil || uri != "s3://"+bucket+"/runs/"+runID+"/evidence/rollbackpoint.json" {
			t.Fatalf("%q, %v", uri, err)
		}
		if back, err := e.Get(t.Context(), runID, "rollbackpoint.json"); err != nil || string(back) != content {
			t.Errorf("%q, %v", back, err)
		}
	}
	// It is no record of the journal.
	j, err := (&Journals{S3: c, Bucket: bucket}).Open(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := j.Entries(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	for _, bad := range [][2]string{{"", "x"}, {"a/b", "x"}, {"a", "../x"}, {"a", ""}} {
		if _, err := e.Put(t.Context(), bad[0], bad[1], nil); err == nil {
			t.Errorf("%q was written", bad)
		}
		if _, err := e.Get(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
