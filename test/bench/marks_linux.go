package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// askSystemd prints when the guest's systemd saw our units come up, by the
// guest's clock, which the host has set. The journal would not do: what sshd
// prints has the time at which journald came round to it.
const askSystemd = "sudo systemctl show mayfly-agent.service mayfly-ssh.service --timestamp=us+utc " +
	"-p Id -p ActiveEnterTimestamp -p ExecMainStartTimestamp 2>/dev/null || true"

// marksOf are the moments in that, by unit and property.
var marksOf = map[[2]string]string{
	{"mayfly-agent.service", "ActiveEnterTimestamp"}: "systemd knows that the identity is there",
	{"mayfly-ssh.service", "ExecMainStartTimestamp"}: "systemd has started sshd",
}

// marks asks the guest of a worker. One whose systemd does not know a moment
// has none.
func (p *plugin) marks(ctx context.Context, w worker) (map[string]float64, error) {
	text, err := p.process.Run(ctx, w.id, askSystemd)
	if err != nil {
		return nil, fmt.Errorf("asking the systemd of %s: %w", w.id, err)
	}
	record, err := p.records.Load(w.id)
	if err != nil {
		return nil, err
	}
	asked := record.ReadyAt.Add(-time.Duration(w.ready * float64(time.Second)))
	return parseMarks(text, asked), nil
}

// systemdTime is how systemctl writes times with --timestamp=us+utc.
const systemdTime = "Mon 2006-01-02 15:04:05.000000 MST"

// parseMarks reads a block of lines for each unit, which may name it last, as
// seconds since asked.
func parseMarks(text string, asked time.Time) map[string]float64 {
	marks := make(map[string]float64)
	for block := range strings.SplitSeq(text, "\n\n") {
		properties := make(map[string]string)
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			properties[name] = value
		}
		for name, value := range properties {
			mark, wanted := marksOf[[2]string{properties["Id"], name}]
			at, err := time.Parse(systemdTime, value)
			if wanted && err == nil {
				marks[mark] = at.Sub(asked).Seconds()
			}
		}
	}
	return marks
}
