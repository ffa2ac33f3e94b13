# The order matters: fresh entropy comes before anything may draw a random
# number, and sshd begins anew last.
case $system in
Linux) printf '%s' "$entropy" >/dev/urandom ;;
*) printf '%s' "$entropy" >/dev/random ;;
esac

off=$((now - $(date -u +%s)))
if [ $off -gt 2 ] || [ $off -lt -2 ]; then
  case $system in
  Linux) date -u -s "@$now" >/dev/null ;;
  *) date -u -f %s "$now" >/dev/null ;;
  esac
fi

case $system in
Linux)
  put /etc/machine-id 444 "$machine_id"
  put /etc/hostname 644 "$hostname"
  hostname "$hostname"
  here=127.0.1.1
  ;;
FreeBSD)
  put /etc/machine-id 444 "$machine_id"
  uuid=$(printf '%s' "$machine_id" | sed 's/^\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)/\1-\2-\3-\4-/')
  put /etc/hostid 644 "$uuid"
  sysctl "kern.hostuuid=$uuid" >/dev/null
  sysrc "hostname=$hostname" >/dev/null
  hostname "$hostname"
  here=127.0.0.1
  ;;
Darwin)
  scutil --set HostName "$hostname"
  scutil --set LocalHostName "$hostname"
  scutil --set ComputerName "$hostname"
  here=127.0.0.1
  ;;
esac
put /etc/hosts 644 "$(sed '/ # mayfly$/d' /etc/hosts)
$here $hostname # mayfly"

host_key_is "$host_key" "$host_key_public"
[ "$user" = "$login_user" ] || rm -f "$(home_of "$login_user")/.ssh/authorized_keys"
authorize "$user" "$authorized_key"

# The daemon read its host key when it started; this connection stays. On macOS
# each connection has an sshd of its own.
case $system in
FreeBSD) service sshd onerestart ;;
Linux)
  if [ -d /run/systemd/system ]; then
    systemctl restart ssh.service || systemctl restart sshd.service
  elif command -v rc-service >/dev/null; then
    rc-service sshd restart
  else
    hang_up_sshd
  fi
  ;;
esac
