# The first process of a machine of the lab: gives it files of its own, then stays until the lab closes its standard input.
set -e
hosts=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run

# /sys as this network namespace has it, with the cgroups that a fresh mount would hide.
mkdir /run/sys
mount -t sysfs sysfs /run/sys
mount --rbind /sys/fs/cgroup /run/sys/fs/cgroup
mount --move /run/sys /sys
rmdir /run/sys

# What programs write to /etc and /var/lib does not reach the real machine, and can be listed.
for directory in /etc /var/lib; do
  changes=/run/lab$directory
  mkdir -p "$changes/changed" "$changes/work"
  mount -t overlay -o "lowerdir=$directory,upperdir=$changes/changed,workdir=$changes/work" overlay "$directory"
done
rm -f /etc/hosts /etc/resolv.conf
printf '%b' "127.0.0.1 localhost\n::1 localhost ip6-localhost\n$hosts" >/etc/hosts
# Nobody listens there, so that looking up a name of the Internet fails at once.
echo 'nameserver 127.0.0.1' >/etc/resolv.conf

echo ready
read -r _ || true
