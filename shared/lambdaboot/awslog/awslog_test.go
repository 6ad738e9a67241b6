package awslog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

func TestLoad(t *testing.T) {
	was := slog.Default()
	t.Cleanup(func() { slog.SetDefault(was) })
	var log bytes.Buffer
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	cfg, err := config.LoadDefaultConfig(t.Context(), Load)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger.Logf(logging.Debug, "hidden %d", 1)
	cfg.Logger.Logf(logging.Warn, "shown %d", 2)
	if got := log.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `"level":"WARN","msg":"AWS SDK","said":"shown 2"`) {
		t.Errorf("logged %s", got)
	}
}
