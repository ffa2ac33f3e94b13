uname -s
uname -m
if [ "$(id -u)" = 0 ]; then
  echo "sh -s"
elif sudo -n true >/dev/null 2>&1; then
  echo "$(command -v sudo) -n sh -s"
elif doas -n true >/dev/null 2>&1; then
  echo "$(command -v doas) -n sh -s"
elif su root -c true >/dev/null 2>&1; then # FreeBSD's images have a root without a password, for the group wheel
  echo 'su root -c "sh -s"'
else
  echo none
fi
