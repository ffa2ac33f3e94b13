#!/bin/busybox sh
# The first process of a worker: it loads what the root disk needs, mounts it
# and hands over. There is nobody to ask, so every failure ends the machine
# with a line on the console that says why.

box=/bin/busybox

fail() {
    echo "mayfly-initrd: $*"
    $box sync
    $box poweroff -f
}

# find_root DEVICE|LABEL=...|UUID=... prints the device once it is there.
find_root() {
    case "$1" in
    LABEL=* | UUID=*) $box findfs "$1" 2>/dev/null ;;
    *) [ -b "$1" ] && echo "$1" ;;
    esac
}

$box mkdir -p /proc /sys /dev /newroot
$box mount -t proc proc /proc || fail "mounting /proc"
$box mount -t sysfs sysfs /sys || fail "mounting /sys"
$box mount -t devtmpfs devtmpfs /dev || fail "mounting /dev"

root=
type=ext4
flags=
mode=rw
init=/sbin/init
for word in $($box cat /proc/cmdline); do
    case "$word" in
    root=*) root=${word#root=} ;;
    rootfstype=*) type=${word#rootfstype=} ;;
    rootflags=*) flags=,${word#rootflags=} ;;
    init=*) init=${word#init=} ;;
    ro | rw) mode=$word ;;
    esac
done
[ -n "$root" ] || fail "no root= on the kernel command line"

while read -r module; do
    $box insmod "/modules/$module" || fail "loading module $module"
done </modules/order

# A disk has ten seconds to appear, by the clock and not by counting: looking
# for a label takes longer than the pause when the machine is emulated.
uptime() {
    read -r seconds _ </proc/uptime
    echo "${seconds%.*}"
}
deadline=$(($(uptime) + 10))
until device=$(find_root "$root"); do
    [ "$(uptime)" -lt "$deadline" ] || fail "root device $root did not appear"
    $box usleep 20000
done

$box mount -t "$type" -o "$mode$flags" "$device" /newroot || fail "mounting $device as $type"
[ -x "/newroot$init" ] || [ -L "/newroot$init" ] || fail "$init is not on $device"
for dir in dev sys proc; do
    $box mkdir -p "/newroot/$dir"
    $box mount --move "/$dir" "/newroot/$dir" || fail "moving /$dir to the root disk"
done
exec $box switch_root /newroot "$init"
fail "switching to the root disk"
