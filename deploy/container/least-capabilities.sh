#!/bin/sh
# Watches the whole host from a container with the least privileges that this takes. Alerts go to standard output, the log to
# standard error; arguments of this script become the sensor's. docker takes the same options.
#
# BPF, PERFMON      load the programs and attach them
# SYS_PTRACE        see what processes of others execute, and their descriptors and namespaces: parents that are older than
# DAC_READ_SEARCH   the sensor, and connections that shells have made before it started
# seccomp, apparmor, label
#                   engines' profiles refuse bpf(2) and perf_event_open(2), and the look at processes outside of the container
# /sys/kernel/tracing
#                   numbers of tracepoints; the host must have it mounted, as systemd does
#
# Where kernel.perf_event_paranoid is above 2 the kernel wants SYS_ADMIN too for kprobes and tracepoints, and up to 5.10
# SYS_RESOURCE for the memory of the maps. The other options are those of privileged.sh.
exec podman run --rm --name=sensor \
    --cap-drop=ALL \
    --cap-add=BPF,PERFMON,SYS_PTRACE,DAC_READ_SEARCH \
    --security-opt=no-new-privileges \
    --security-opt=seccomp=unconfined \
    --security-opt=apparmor=unconfined \
    --security-opt=label=disable \
    --pid=host \
    --uts=host \
    --network=none \
    --read-only \
    --volume=/etc/machine-id:/etc/machine-id:ro \
    --volume=/etc/os-release:/etc/os-release:ro \
    --volume=/etc/passwd:/etc/passwd:ro \
    --volume=/sys/kernel/tracing:/sys/kernel/tracing:ro \
    "${SENSOR_IMAGE:-localhost/sensor:0.1.0}" run "$@"
