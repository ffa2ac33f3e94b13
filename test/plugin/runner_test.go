package plugin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"gitlab.com/gitlab-org/fleeting/fleeting"
	"gitlab.com/gitlab-org/fleeting/fleeting/connector"
	"gitlab.com/gitlab-org/fleeting/fleeting/provider"
)

// runnerRole is the first argument of a test process that plays the runner.
// The second is the plugin, the third its plugin_config.
const runnerRole = "play-the-runner"

// playRunner starts the plugin and does what it is told on stdin. Like a
// runner that drains, it outlives the signals that ask it to.
func playRunner() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGINT)
	if err := obey(os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func obey(plugin, config string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*soon)
	defer cancel()
	process, err := fleeting.RunPlugin(plugin, []byte(config), fleeting.WithPluginLogger(hclog.NewNullLogger()))
	if err != nil {
		return err
	}
	group := process.InstanceGroup()
	if _, err := group.Init(ctx, hclog.NewNullLogger(), provider.Settings{}); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); fmt.Println(lines.Text(), "done") {
		switch lines.Text() {
		case "work":
			err = work(ctx, group)
		case "hang up": // without Shutdown
			process.Kill()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// work asks for a worker and runs a job on it.
func work(ctx context.Context, group provider.InstanceGroup) error {
	if _, err := group.Increase(ctx, 1); err != nil {
		return err
	}
	id, err := awaitRunning(ctx, group)
	if err != nil {
		return err
	}
	info, err := group.ConnectInfo(ctx, id)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = connector.Run(ctx, info, connector.ConnectorOptions{
		RunOptions: connector.RunOptions{Command: "echo works", Stdout: &out},
	})
	if err == nil && out.String() != "works\n" {
		err = fmt.Errorf("the job said %q", out.String())
	}
	return err
}

// awaitRunning returns a worker once all of them run.
func awaitRunning(ctx context.Context, group provider.InstanceGroup) (string, error) {
	for ctx.Err() == nil {
		var running string
		all := true
		err := group.Update(ctx, func(id string, state provider.State) {
			running, all = id, all && state == provider.StateRunning
		})
		if err != nil {
			return "", err
		}
		if running != "" && all {
			return running, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return "", errors.New("no worker runs")
}
