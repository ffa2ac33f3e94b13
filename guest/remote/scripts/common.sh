set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin:/usr/sbin:/sbin
export PATH

# put FILE MODE TEXT: no older mode, content or link of the file stays.
put() {
  rm -f "$1.mayfly"
  (umask 077 && printf '%s\n' "$3" >"$1.mayfly")
  chmod "$2" "$1.mayfly"
  mv -f "$1.mayfly" "$1"
}

home_of() { eval "echo ~$1"; }

# authorize USER KEY: this key opens the account, and no other does.
authorize() {
  home=$(home_of "$1")
  mkdir -p "$home/.ssh"
  chmod 700 "$home/.ssh"
  rm -f "$home/.ssh/authorized_keys2"
  put "$home/.ssh/authorized_keys" 600 "$2"
  chown -R "$1" "$home/.ssh"
}

# host_key_is PRIVATE PUBLIC: sshd has this host key, and no other.
host_key_is() {
  rm -f /etc/ssh/ssh_host_*
  put /etc/ssh/ssh_host_ed25519_key 600 "$1"
  put /etc/ssh/ssh_host_ed25519_key.pub 644 "$2"
}

# hang_up_sshd has sshd begin anew, and waits until it has: until then it may let
# somebody in as before. It writes down its process id when it listens again.
hang_up_sshd() {
  old=$(cat /run/sshd.pid)
  rm -f /run/sshd.pid
  kill -HUP "$old"
  tries=0
  until [ -s /run/sshd.pid ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { echo "sshd did not begin anew" >&2; exit 1; }
    sleep 0.1
  done
}
