package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// journal prints what the guest's SSH service has logged, with the time in
// seconds since 1970 by the guest's clock, which the host has set.
const journal = "sudo journalctl --no-pager --quiet -o short-unix -u mayfly-ssh.service 2>/dev/null || true"

// marksOf are the moments in that log, by what their lines hold.
var marksOf = []struct{ holds, name string }{
	{"Started mayfly-ssh.service", "systemd has started sshd"},
	{"Server listening on 0.0.0.0", "sshd listens"},
	{"Accepted publickey", "sshd has accepted the key"},
}

// marks asks the guest of a worker. One whose log lacks a moment has none.
func (p *plugin) marks(ctx context.Context, w worker) (map[string]float64, error) {
	text, err := p.process.Run(ctx, w.id, journal)
	if err != nil {
		return nil, fmt.Errorf("reading the log of %s: %w", w.id, err)
	}
	record, err := p.records.Load(w.id)
	if err != nil {
		return nil, err
	}
	asked := record.ReadyAt.Add(-time.Duration(w.ready * float64(time.Second)))
	return parseMarks(text, asked), nil
}

// parseMarks takes the first line of each moment, as seconds since asked.
func parseMarks(text string, asked time.Time) map[string]float64 {
	marks := make(map[string]float64)
	for line := range strings.Lines(text) {
		stamp, said, _ := strings.Cut(line, " ")
		at, err := strconv.ParseFloat(stamp, 64)
		if err != nil {
			continue
		}
		for _, mark := range marksOf {
			if _, known := marks[mark.name]; !known && strings.Contains(said, mark.holds) {
				marks[mark.name] = at - float64(asked.UnixMicro())/1e6
			}
		}
	}
	return marks
}
