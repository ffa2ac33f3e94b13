new=
[ -d "$dir" ] || new=yes
mkdir -p "$dir"
[ -z "$new" ] || chown "$login_user" "$dir"
case $system in
Darwin) sudo -n -u "$login_user" mount_virtiofs "$tag" "$dir" ;; # who mounts it owns what is in it
Linux) mount -t virtiofs "$tag" "$dir" ;;
*)
  echo "guests of $system cannot mount shares"
  exit 1
  ;;
esac
