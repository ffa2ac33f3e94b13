missing=
for tool in git sshd; do
  command -v $tool >/dev/null || missing="$missing $tool"
done
id "$user" >/dev/null 2>&1 && [ -d "$(home_of "$user")" ] || missing="$missing user:$user"
if [ -n "$missing" ]; then
  echo "missing:$missing (image.packages or image.run can add them)"
  exit 1
fi
