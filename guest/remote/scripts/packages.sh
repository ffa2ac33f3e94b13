# The names are checked when the configuration is read: they hold no blanks.
case $system in
FreeBSD) env ASSUME_ALWAYS_YES=yes pkg install -y $packages ;;
Darwin) sudo -n -H -u "$login_user" env "PATH=$PATH" brew install $packages ;;
Linux)
  if command -v apt-get >/dev/null; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y $packages
  elif command -v dnf >/dev/null; then
    dnf install -y $packages
  elif command -v apk >/dev/null; then
    apk add $packages
  else
    echo "no package manager that is known: apt-get, dnf, apk" >&2
    exit 1
  fi
  ;;
esac
