#!/bin/sh
# Runs when the files are in place, first or anew. A pool that runs is left alone: its
# plugin goes on as it was started, and the next start of the runner takes the new one.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	/usr/lib/systemd/systemd-modules-load /usr/lib/modules-load.d/mayfly.conf || true
	/usr/lib/systemd/systemd-sysctl /usr/lib/sysctl.d/60-mayfly.conf || true
fi
