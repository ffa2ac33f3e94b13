if ! id "$user" >/dev/null 2>&1; then
  case $system in
  Linux)
    shell=/bin/sh
    [ ! -x /bin/bash ] || shell=/bin/bash
    if command -v useradd >/dev/null; then
      useradd --create-home --shell "$shell" --password '*' "$user"
    else
      adduser -D -s "$shell" "$user"
    fi
    ;;
  FreeBSD) pw useradd -n "$user" -m -s /bin/sh -h - ;;
  Darwin)
    # A password that nobody ever learns: the account is entered with keys.
    sysadminctl -addUser "$user" -admin -shell /bin/bash -password "$(head -c 32 /dev/random | od -An -tx1 | tr -d ' \n')"
    createhomedir -c -u "$user"
    ;;
  esac
fi

# Jobs may become root, as in any machine of their own.
if [ "$user" != root ]; then
  for dir in /etc/sudoers.d /usr/local/etc/sudoers.d; do
    [ ! -d "$dir" ] || put "$dir/mayfly" 440 "$user ALL=(ALL) NOPASSWD: ALL"
  done
  if [ "$system" = FreeBSD ] && command -v doas >/dev/null; then
    echo "permit nopass $user" >>/usr/local/etc/doas.conf
  fi
fi
