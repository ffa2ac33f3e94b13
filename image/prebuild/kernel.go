package prebuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/guest"
	"gitlab.com/mayfly-ci/fleeting-plugin-mayfly/image"
)

// findKernel prints the path of the kernel that workers are to boot, that of its initial
// RAM disk, and the arguments that told the running kernel where its root file system is.
//
// It is the kernel of the package $1, or of one that this one depends on. Without a
// package it is the newest of those of another kind than the running kernel, since
// somebody has installed them, or else the newest of all: a kind is what stands after the
// digits of a version. With $2 it prints nothing when that is the running kernel.
const findKernel = `cd /boot || exit 1
kind() { printf '%s\n' "$1" | sed 's/^[0-9.-]*//'; }
running=$(uname -r)
if [ -n "$1" ]; then
  command -v dpkg-query >/dev/null || { echo "image.kernel is for Debian and Ubuntu: no dpkg-query"; exit 1; }
  depends=$(dpkg-query --show --showformat '${Depends}' "$1" | tr ',|' '\n\n' |
    sed 's/^ *//; s/[ (:].*//' | grep '^linux-')
  k=$(for p in "$1" $depends; do dpkg-query --listfiles "$p" 2>/dev/null; done |
    sed -n 's,^/boot/\(vmlinuz-[^/]*\)$,\1,p' | sort -V | tail -n 1)
  [ -n "$k" ] || { echo "the package $1 of image.kernel has no kernel in /boot"; exit 1; }
else
  k=$(for k in $(ls -v vmlinuz-*); do
    [ "$(kind "${k#vmlinuz-}")" = "$(kind "$running")" ] || echo "$k"
  done | tail -n 1)
  [ -n "$k" ] || k=$(ls -v vmlinuz-* | tail -n 1)
fi
[ -n "$k" ] && v=${k#vmlinuz-} || exit 1
[ -z "$2" ] || [ "$v" != "$running" ] || exit 0
for i in initrd.img-$v initramfs-$v.img initramfs-$v initrd-$v; do
  if [ -e $i ]; then echo /boot/$k; echo /boot/$i; tr ' ' '\n' </proc/cmdline | grep '^root' | tr '\n' ' '; exit 0; fi
done; echo "no initial RAM disk in /boot for the kernel $v"; exit 1`

// fetchKernel takes the kernel out of an image that came as a whole disk, or in which
// steps have installed another than was made ready for it: workers boot it directly,
// without firmware and boot loader. Of an image that is made from packages it is there
// already, with image.kernel for good.
func fetchKernel(ctx context.Context, g Guest, golden image.Golden) (root string, err error) {
	recipe := golden.Recipe
	_, err = os.Stat(golden.Kernel())
	ready := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if ready && recipe.Kernel != "" {
		return golden.Root, nil
	}
	unless := ""
	if ready {
		unless = "running"
	}
	var found bytes.Buffer
	err = within(ctx, choreLimit, "finding the image's kernel", func(ctx context.Context) error {
		command := "sh -c " + guest.Quote(findKernel) + " sh " + guest.Quote(recipe.Kernel) + " " + guest.Quote(unless)
		return g.Run(ctx, command, newBounded(&found, answerLimit))
	})
	said := strings.TrimSpace(found.String())
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	if ready && said == "" {
		return golden.Root, nil
	}
	answer := strings.Split(said, "\n")
	if len(answer) != 3 {
		return "", fmt.Errorf("finding the image's kernel: odd answer %q", answer)
	}
	if ready {
		if err := errors.Join(os.Remove(golden.Kernel()), os.Remove(golden.Initrd())); err != nil {
			return "", fmt.Errorf("removing the kernel that was made ready: %w", err)
		}
	}
	if err := fetch(ctx, g, answer[0], golden.Kernel()); err != nil {
		return "", err
	}
	return answer[2], fetch(ctx, g, answer[1], golden.Initrd())
}
