package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how an image build goes on: each stage as a heading, its
// output below, with the seconds since the beginning. On a terminal the lines that say
// what part of a stage is done are one bar in place of many lines.
type progress struct {
	to       io.Writer
	began    time.Time
	stage    string
	terminal bool
	bar      *progressbar.ProgressBar
}

func newProgress(to io.Writer) *progress {
	file, is := to.(*os.File)
	return &progress{to: to, began: time.Now(), terminal: is && term.IsTerminal(int(file.Fd()))}
}

// share is the beginning of a line that says what part of a stage is done.
var share = regexp.MustCompile(`^(\d{1,3}) % of `)

// report is an image.Progress.
func (p *progress) report(stage, line string) {
	if stage != p.stage {
		p.endBar()
		p.stage = stage
		fmt.Fprintf(p.to, "%6.1fs  == %s\n", p.seconds(), stage)
	}
	if line == "" {
		return
	}
	if done := share.FindStringSubmatch(line); p.terminal && done != nil {
		percent, _ := strconv.Atoi(done[1]) // which are digits
		p.draw(percent, line)
		return
	}
	p.endBar()
	fmt.Fprintf(p.to, "%6.1fs  %s\n", p.seconds(), line)
}

// draw shows a bar, the line beside it.
func (p *progress) draw(percent int, line string) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions(100, progressbar.OptionSetWriter(p.to), progressbar.OptionSetWidth(30),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionShowDescriptionAtLineEnd(),
			progressbar.OptionSetRenderBlankState(true))
	}
	p.bar.Describe(line)
	_ = p.bar.Set(min(percent, 100)) // what cannot be shown is no reason to fail
	if percent >= 100 {
		p.endBar()
	}
}

// endBar leaves the bar as it is, and goes on below it.
func (p *progress) endBar() {
	if p.bar == nil {
		return
	}
	p.bar = nil
	fmt.Fprintln(p.to)
}

func (p *progress) seconds() float64 { return time.Since(p.began).Seconds() }
