#!/usr/bin/env bash
# Lets the functions of a deployed stack into an EKS cluster: one access entry for each function's role, in the Kubernetes group that
# infra/kubernetes grants its rights. Again is harmless: an entry that is there gets its group. The caller's credentials need
# cloudformation:DescribeStackResource, iam:GetRole and eks:CreateAccessEntry, eks:UpdateAccessEntry.
set -euo pipefail
stack=${1:?usage: access-entries.sh STACK CLUSTER}
cluster=${2:?usage: access-entries.sh STACK CLUSTER}

for function in assess backup controlplane degraded gate janitor lease quarantine restore rollback rollbackpoint teardown volumesync; do
	role=$(aws cloudformation describe-stack-resource --stack-name "$stack" --logical-resource-id "${function^}FunctionRole" \
		--query StackResourceDetail.PhysicalResourceId --output text)
	arn=$(aws iam get-role --role-name "$role" --query Role.Arn --output text)
	if ! said=$(aws eks create-access-entry --cluster-name "$cluster" --principal-arn "$arn" --type STANDARD \
		--kubernetes-groups "fallback-chain:$function" 2>&1); then
		if [[ $said != *ResourceInUseException* ]]; then
			echo "$said" >&2
			exit 1
		fi
		aws eks update-access-entry --cluster-name "$cluster" --principal-arn "$arn" --kubernetes-groups "fallback-chain:$function" >/dev/null
	fi
	echo "$function: $arn is in group fallback-chain:$function"
done
