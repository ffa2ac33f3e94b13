package runner

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// role is the first argument of a test process that plays the runner. The
// second is the program, the third its plugin_config.
const role = "play-the-runner"

// playLimit bounds the life of a runner.
const playLimit = 15 * time.Minute

// Play plays the runner if this process was started for that, and says whether
// it was. Its plugin does what lines on stdin say:
//
//	grow N   ask for N workers
//	work     wait until all workers run, and run a job on each
//	hang up  end the plugin without Shutdown
//
// Like a runner that drains, it goes on after signals that ask it to end.
func Play() bool {
	if len(os.Args) < 4 || os.Args[1] != role {
		return false
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGINT)
	if err := play(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "playing the runner:", err)
		os.Exit(1)
	}
	return true
}

func play(binary, config string) error {
	ctx, cancel := context.WithTimeout(context.Background(), playLimit)
	defer cancel()
	plugin, err := start(binary, []byte(config), hclog.NewNullLogger())
	if err != nil {
		return err
	}
	if err := plugin.Initialise(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); fmt.Println(lines.Text(), "done") {
		if err := plugin.obey(ctx, lines.Text()); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
	}
	return nil
}

func (p *Plugin) obey(ctx context.Context, line string) error {
	verb, argument, _ := strings.Cut(line, " ")
	switch verb {
	case "grow":
		n, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		return p.Grow(ctx, n)
	case "work":
		return p.work(ctx)
	default: // hang up
		p.Kill()
		return nil
	}
}

func (p *Plugin) work(ctx context.Context) error {
	ids, err := p.AwaitRunning(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		out, err := p.Run(ctx, id, "echo works")
		if err != nil {
			return err
		}
		if out != "works\n" {
			return fmt.Errorf("the job said %q", out)
		}
	}
	return nil
}
