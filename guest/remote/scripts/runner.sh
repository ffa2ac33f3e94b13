mkdir -p /usr/local/bin
mv -f "$uploaded" /usr/local/bin/gitlab-runner
chown 0:0 /usr/local/bin/gitlab-runner
chmod 755 /usr/local/bin/gitlab-runner
