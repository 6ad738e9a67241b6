package rights

// Deployed is the deployment that rights are compared in: everything that the template can grant is on.
func Deployed() Deployment {
	const account, region = "123456789012", "eu-central-1"
	key := func(id string) string { return "arn:aws:kms:" + region + ":" + account + ":key/" + id }
	return Deployment{
		Account: account, Region: region, Stack: "fallback-chain",
		Names: map[string]string{"PlanBucket": "plans", "JournalBucket": "journals", "EvidenceBucket": "evidence"},
		Parameters: map[string]string{
			"ClusterName": "main", "PlanName": "shop-alarm", "AlarmName": "shop-endpoint-unhealthy",
			"VeleroBucketName": "velero", "VeleroPrefix": "default", "VeleroBucketKeyArn": key("velero"), "ManifestKeyArn": key("manifests"), "KmsKeyArn": key("own"),
			"DatabaseSecretArn": "arn:aws:secretsmanager:" + region + ":" + account + ":secret:shop-reader-*",
			"VpcSubnetIds":      "subnet-1", "VpcSecurityGroupIds": "sg-1",
		},
	}
}
