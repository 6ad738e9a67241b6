// Package awslog has the AWS SDK write to the log that everything else writes to, in its form and with its levels: by itself it writes lines
// of text to standard error.
package awslog

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

// Load is config.LoadDefaultConfig's option.
func Load(o *config.LoadOptions) error { return config.WithLogger(logging.LoggerFunc(write))(o) }

func write(c logging.Classification, format string, v ...any) {
	level := slog.LevelDebug
	if c == logging.Warn {
		level = slog.LevelWarn
	}
	if l := slog.Default(); l.Enabled(context.Background(), level) {
		l.Log(context.Background(), level, "AWS SDK", "said", fmt.Sprintf(format, v...))
	}
}
