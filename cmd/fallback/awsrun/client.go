// Package awsrun starts, follows, lists and stops runs in AWS, for the CLI's --aws. What Step Functions records of an
// execution is turned into the events that a walk in this process emits, so both are shown by the same view.
package awsrun

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// Each function asks for the calls it makes. *sfn.Client has them all.

// Starter starts executions.
type Starter interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
}

// Stopper stops executions.
type Stopper interface {
	StopExecution(context.Context, *sfn.StopExecutionInput, ...func(*sfn.Options)) (*sfn.StopExecutionOutput, error)
}

// Lister lists executions.
type Lister interface {
	ListExecutions(context.Context, *sfn.ListExecutionsInput, ...func(*sfn.Options)) (*sfn.ListExecutionsOutput, error)
}

// Reader reads one execution and its history.
type Reader interface {
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
	GetExecutionHistory(context.Context, *sfn.GetExecutionHistoryInput, ...func(*sfn.Options)) (*sfn.GetExecutionHistoryOutput, error)
}

// Client is all of them.
type Client interface {
	Starter
	Stopper
	Lister
	Reader
}

var _ Client = (*sfn.Client)(nil)
