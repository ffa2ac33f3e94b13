package provider

import (
	"context"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// handler passes slog's records on to hclog, the only way for a line to reach
// the runner's log with its level and fields.
type handler struct {
	logger hclog.Logger
	// group is put before the name of every field, attached are the fields of
	// the logger itself.
	group    string
	attached []any
}

var _ slog.Handler = handler{}

// Enabled asks hclog, so that a line that nobody wants is not put together.
func (h handler) Enabled(_ context.Context, level slog.Level) bool {
	return h.logger.GetLevel() <= hclogLevel(level)
}

// Handle passes one record on. The time is hclog's own.
func (h handler) Handle(_ context.Context, record slog.Record) error {
	fields := slices.Clone(h.attached)
	record.Attrs(func(attr slog.Attr) bool {
		fields = appendField(fields, h.group, attr)
		return true
	})
	h.logger.Log(hclogLevel(record.Level), record.Message, fields...)
	return nil
}

// WithAttrs returns a handler that adds the fields to every record.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attached = slices.Clone(h.attached)
	for _, attr := range attrs {
		h.attached = appendField(h.attached, h.group, attr)
	}
	return h
}

// WithGroup returns a handler that puts the name before that of every field.
func (h handler) WithGroup(name string) slog.Handler {
	if name != "" {
		h.group += name + "."
	}
	return h
}

// appendField adds a field, or the fields of a group with the group's name
// before theirs. Values that JSON knows no form of go as their text.
func appendField(fields []any, prefix string, attr slog.Attr) []any {
	value := attr.Value.Resolve()
	switch value.Kind() {
	case slog.KindGroup:
		if attr.Key != "" {
			prefix += attr.Key + "."
		}
		for _, member := range value.Group() {
			fields = appendField(fields, prefix, member)
		}
		return fields
	case slog.KindDuration, slog.KindTime:
		return append(fields, prefix+attr.Key, value.String())
	}
	if attr.Equal(slog.Attr{}) { // slog wants empty ones left out
		return fields
	}
	if err, ok := value.Any().(error); ok {
		return append(fields, prefix+attr.Key, err.Error())
	}
	return append(fields, prefix+attr.Key, value.Any())
}

func hclogLevel(level slog.Level) hclog.Level {
	switch {
	case level >= slog.LevelError:
		return hclog.Error
	case level >= slog.LevelWarn:
		return hclog.Warn
	case level >= slog.LevelInfo:
		return hclog.Info
	case level >= slog.LevelDebug:
		return hclog.Debug
	}
	return hclog.Trace
}
