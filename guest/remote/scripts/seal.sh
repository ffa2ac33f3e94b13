host_key_is "$host_key" "$host_key_public"
authorize "$login_user" "$login_key"

# The first value of a setting counts, so ours go before the image's. A guest
# is entered with keys from now on; its host key is the one that we give it.
config=/etc/ssh/sshd_config
settings="# mayfly: begin
HostKey /etc/ssh/ssh_host_ed25519_key
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
# mayfly: end"
put $config 644 "$settings
$(sed '/^# mayfly: begin$/,/^# mayfly: end$/d' $config)"
sshd -t -f $config

# What no two machines may share, and what a prebuild leaves behind.
case $system in
Linux)
  put /etc/machine-id 444 ""
  rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed
  rm -f /var/lib/dhcp/*.leases /var/lib/NetworkManager/*.lease
  if [ -d /etc/cloud ]; then
    put /etc/cloud/cloud-init.disabled 644 "sealed by mayfly"
  fi
  # cloud-init ties the network to the MAC of the first boot; and a DHCP server
  # must know a worker by its MAC, since that is how its lease is found.
  rm -f /etc/NetworkManager/system-connections/cloud-init-*
  if [ -d /etc/netplan ]; then
    rm -f /etc/netplan/*.yaml
    put /etc/netplan/50-mayfly.yaml 600 "network:
  version: 2
  ethernets:
    any:
      match: {name: \"e*\"}
      dhcp4: true
      dhcp-identifier: mac"
  fi
  ;;
FreeBSD)
  rm -f /etc/hostid /etc/machine-id /var/db/dhclient.leases.* /firstboot /entropy
  rm -f /var/db/entropy/*
  ;;
Darwin)
  rm -f /var/db/dhcpclient/leases/*
  ;;
esac
for name in root "$login_user"; do
  rm -f "$(home_of "$name")/.bash_history" "$(home_of "$name")/.zsh_history" "$(home_of "$name")/.sh_history"
done
sync
