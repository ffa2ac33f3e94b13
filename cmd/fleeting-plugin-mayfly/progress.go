package main

import (
	"fmt"
	"io"
	"time"
)

// progress shows how an image build goes on: each stage as a heading, its
// output below, with the seconds since the beginning.
type progress struct {
	to    io.Writer
	began time.Time
	stage string
}

func newProgress(to io.Writer) *progress { return &progress{to: to, began: time.Now()} }

// report is an image.Progress.
func (p *progress) report(stage, line string) {
	if stage != p.stage {
		p.stage = stage
		fmt.Fprintf(p.to, "%6.1fs  == %s\n", p.seconds(), stage)
	}
	if line != "" {
		fmt.Fprintf(p.to, "%6.1fs  %s\n", p.seconds(), line)
	}
}

func (p *progress) seconds() float64 { return time.Since(p.began).Seconds() }
