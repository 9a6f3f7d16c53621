#!/bin/busybox sh
# The first process of Docker Desktop's VM in the lab.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

if [ "$1" != again ]; then
    /bin/busybox mkdir -p /dev /proc /sys /tmp /run /etc /root /sbin /usr/bin /usr/sbin /var/lib/docker
    /bin/busybox --install -s
    # The kernel's first file system cannot be left by pivot_root(2), as containers do it: another mount of it can.
    mount -o bind / /root
    cd /root
    mount -o move . /
    # This machine's shell, since busybox's prefers its own applets to programs.
    exec chroot . /bin/sh /init again
fi

mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t proc none /proc
mount -t sysfs none /sys
mount -t cgroup2 none /sys/fs/cgroup
ln -s /run /var/run
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
hostname docker-desktop
for family in iptables ip6tables; do
    for end in '' -save -restore; do
        ln -s xtables-nft-multi "/usr/sbin/$family$end"
    done
done
for module in /modules/*.ko; do
    insmod "$module" || echo "no $module"
done
mount -t ext4 /dev/vda /var/lib/docker
ip link set lo up
ip -batch /etc/uplink

# What stands for vsock is in a namespace of its own: neither dockerd nor a container with the host's network finds a NIC.
ip netns add vsock
vsock=$(ls /sys/bus/pci/devices/0000:00:1f.7/virtio*/net)
ip link set "$vsock" netns vsock
ip -n vsock link set lo up
ip -n vsock link set "$vsock" up
ip -n vsock address add 10.0.2.15/24 dev "$vsock"
forward() {
    nsenter --net=/run/netns/vsock socat -t 3600 "TCP-LISTEN:$1,fork,reuseaddr,nodelay" "$2"
}
forward 1525 'EXEC:nsenter --net=/proc/1/ns/net /bin/sh /etc/answer' &

. /etc/engine
containerd --config /etc/containerd.toml --address /run/containerd.sock --root /var/lib/docker/containerd \
    --state /run/containerd >/run/containerd.log 2>&1 &
dockerd "$@" >/run/dockerd.log 2>&1 &
dockerd=$!
# A process for each refused connection would cost more than the engine does.
while [ ! -S /run/docker.sock ]; do sleep 0.1; done
forward 2376 UNIX-CONNECT:/run/docker.sock &
echo dockerd listens
wait $dockerd
echo "dockerd ended: $?"
tail -n 20 /run/dockerd.log
sync
poweroff -f
