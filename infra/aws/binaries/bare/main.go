// Command bare is the smallest function that aws-lambda-go makes: what the functions here are measured beside.
package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/aws/aws-lambda-go/lambda"
)

type handler struct{}

// Invoke answers what every other function answers to this input: that it is none.
func (handler) Invoke(_ context.Context, payload []byte) ([]byte, error) {
	if !json.Valid(payload) {
		return nil, errors.New("no JSON")
	}
	return payload, nil
}

func main() { lambda.Start(handler{}) }
