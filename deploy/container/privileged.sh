#!/bin/sh
# Watches the whole host from a privileged container. Alerts go to standard output, the log to standard error; arguments of
# this script become the sensor's. docker takes the same options. The image: `cargo xtask package image`, then
# `podman load -i target/package/sensor-*.oci.tar`.
#
# --pid=host       the kernel names processes by the host's numbers, which /proc must know for containers and parents
# --uts=host       the host's name
# --volume …       what the host is (machine-id, os-release) and what its users are called (passwd)
# --network=none   the sensor needs no network, unless alerts are sent over it
exec podman run --rm --name=sensor \
    --privileged \
    --pid=host \
    --uts=host \
    --network=none \
    --read-only \
    --volume=/etc/machine-id:/etc/machine-id:ro \
    --volume=/etc/os-release:/etc/os-release:ro \
    --volume=/etc/passwd:/etc/passwd:ro \
    "${SENSOR_IMAGE:-localhost/sensor:0.1.0}" run "$@"
