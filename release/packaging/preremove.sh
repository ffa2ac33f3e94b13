#!/bin/sh
# Runs before the files go. dpkg says whether it removes or upgrades, rpm how many
# versions will be left. With the program goes the last one that can remove workers, so
# no plugin may go on, and no worker may stay. Those that are suspended are data: they are
# below /var/lib/mayfly alone.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
program=/usr/bin/fleeting-plugin-mayfly

# The plugin lets nobody but its runner end it, and its runner lets jobs end first.
running=
for process in /proc/[0-9]*; do
	case "$(readlink "$process/exe" || true)" in
	"$program" | "$program (deleted)") running="$running ${process#/proc/}" ;;
	esac
done
for pid in $running; do
	kill -KILL "$pid" 2>/dev/null || true
done
for pid in $running; do
	while readlink "/proc/$pid/exe" >/dev/null; do sleep 0.1; done
done

"$program" gc || echo "fleeting-plugin-mayfly: some workers may be left, see above" >&2
