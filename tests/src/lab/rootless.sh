# Becomes a rootless dockerd of user 4242, in the network of the caller: $1 an empty directory, $2 the engine's packages, $3
# those of containerd and runc. Runs in a mount namespace of its own.
set -eu
directory=$1
mount --make-rprivate /
mkdir "$directory/engine" "$directory/runtime" "$directory/home" "$directory/run" "$directory/etc"
mount --bind "$2" "$directory/engine"
mount --bind "$3" "$directory/runtime"
for file in passwd group subuid subgid; do
    cp "/etc/$file" "$directory/etc/$file"
done
echo "dtap-lab:x:4242:4242::$directory/home:/bin/sh" >>"$directory/etc/passwd"
echo 'dtap-lab:x:4242:' >>"$directory/etc/group"
echo 'dtap-lab:4260000:65536' >>"$directory/etc/subuid"
echo 'dtap-lab:4260000:65536' >>"$directory/etc/subgid"
for file in passwd group subuid subgid; do
    mount --bind "$directory/etc/$file" "/etc/$file"
done
# As udev makes it: everybody may use it.
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
chown 4242:4242 "$directory/home" "$directory/run"
path=$directory/engine/usr/sbin:$directory/engine/usr/bin:$directory/runtime/usr/sbin:$directory/runtime/usr/bin
exec setpriv --reuid=4242 --regid=4242 --init-groups \
    env -i HOME="$directory/home" XDG_RUNTIME_DIR="$directory/run" PATH="$path:/usr/sbin:/usr/bin:/sbin:/bin" \
    rootlesskit --pidns --net=slirp4netns --mtu=65520 --disable-host-loopback --port-driver=builtin \
    --copy-up=/etc --copy-up=/run --propagation=rslave dockerd
