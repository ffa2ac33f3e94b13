#!/bin/sh
# Runs when the files are gone. Images, records and suspended workers stay until the
# package is purged, which only dpkg knows: after rpm, remove /var/lib/mayfly by hand.
set -e
if [ "$1" = purge ]; then
	if [ -d /var/lib/mayfly ]; then
		find /var/lib/mayfly -xdev -mindepth 1 -delete
		rmdir /var/lib/mayfly 2>/dev/null || true # a file system of its own is its owner's
	fi
	rm -rf /run/mayfly
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
