package plan

import (
	"net/url"
	"regexp"
	"strings"
)

var (
	// https://docs.aws.amazon.com/kms/latest/developerguide/concepts-aws-kms.html#key-id-key-ARN (keys and aliases)
	kmsARN    = regexp.MustCompile(`^arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{12}:(key/[A-Za-z0-9-]{1,256}|alias/[A-Za-z0-9/_-]{1,250})$`)
	hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func (c *checker) velero(v *Velero, path string) {
	if v.Location != "" && !s3URI.MatchString(v.Location) {
		c.add(path+".location", v.Location, "is not a place in S3", "s3://bucket/prefix")
	}
	c.line(v.Region, path+".region")
	if v.Endpoint != "" {
		const want = "https://host[:port], without credentials"
		switch u, err := url.Parse(v.Endpoint); {
		case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
			c.add(path+".endpoint", v.Endpoint, "is not the URL of a server", want)
		case u.User != nil:
			c.add(path+".endpoint", "", "has credentials", want) // which are not repeated
		}
	}
	c.line(v.CredentialsFile, path+".credentialsFile")
	c.label(v.Namespace, path+".namespace")
	c.subdomain(v.StorageLocation, path+".storageLocation")
	c.subdomain(v.Schedule, path+".schedule")
	c.subdomain(v.RestorePoint.Backup, path+".restorePoint.backup")
	if v.RestorePoint.Backup != "" && v.RestorePoint.RandomWithin != 0 {
		c.add(path+".restorePoint", "backup, randomWithin", "sets more than one field", "backup, randomWithin, or neither for the latest")
	}
	c.line(v.Integrity.Key, path+".integrity.key")
	if strings.HasPrefix(v.Integrity.Key, "arn:") {
		c.matches(v.Integrity.Key, path+".integrity.key", kmsARN, "arn:aws:kms:REGION:ACCOUNT:key/ID, or a PEM file")
	}
	c.enum(string(v.Integrity.Manifest), path+".integrity.manifest", string(ManifestOptional), string(ManifestRequired))
	if v.Integrity.Manifest == ManifestRequired && v.Integrity.Key == "" {
		c.add(path+".integrity.key", "", "is missing", "the key that manifests are signed with, for manifest is Required")
	}
	c.enum(string(v.Rehearsal), path+".rehearsal", string(RehearsalStops), string(RehearsalReports))
}
