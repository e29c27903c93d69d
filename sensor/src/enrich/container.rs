//! The container that a process runs in, from its cgroups.
//!
//! A line of /proc/PID/cgroup is `hierarchy:controllers:path`; cgroup v2 has the line `0::path`, v1 and hybrid systems one
//! line per hierarchy. Runtimes put the container's id into a component of the path: alone (docker with cgroupfs,
//! kubernetes with cgroupfs, nerdctl), in a scope (`docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`,
//! `libpod-ID.scope`), behind colons (containerd told to use systemd's names on cgroupfs), or, on AWS Fargate, as 32
//! digits with a number (`/ecs/TASK/TASK-NUMBER`).

/// The id of the innermost container that /proc/PID/cgroup tells of; `None` for a process of the host.
#[must_use]
pub fn id(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        // So ends the path of a process that outlives its cgroup.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let fargate = path.starts_with("/ecs/");
        // In a pod's own cgroup podman's conmon watches over its containers from outside, and the pod has an id too.
        if path.ends_with("/conmon") {
            return None;
        }
        path.rsplit('/').find_map(|component| long(component).or_else(|| short(component).filter(|_| fargate)))
    })
}

/// The 64 digits in which docker, containerd, CRI-O and podman agree, with what may stand around them.
fn long(component: &str) -> Option<&str> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let (prefix, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
    // conmon watches over a container from outside.
    (is_hex(id, 64) && !prefix.ends_with("conmon")).then_some(id)
}

/// A Fargate container: `TASK-NUMBER`, or on older platforms the task's id alone.
fn short(component: &str) -> Option<&str> {
    let (task, number) = component.rsplit_once('-').unwrap_or((component, "0"));
    (is_hex(task, 32) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(component)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "8a6f3bd1c0e44b6f9d3e21c7a5b80f1264c9d7e3f0a1b2c3d4e5f60718293a4b";
    const B: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const TASK: &str = "cd189a933e5849daa93386466019ab50";

    #[test]
    fn every_runtime_is_known() {
        let pod = "kubepods-burstable-pod2c48913c_b29f_11e7_9350_020968147796.slice";
        for (name, text, expected) in [
            ("docker, systemd, v2", format!("0::/system.slice/docker-{A}.scope\n"), A),
            ("docker, cgroupfs, v2", format!("0::/docker/{A}"), A),
            (
                "docker, rootless",
                format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope"),
                A,
            ),
            ("docker, v1", format!("12:pids:/docker/{A}\n11:hugetlb:/docker/{A}\n1:name=systemd:/docker/{A}\n"), A),
            ("docker, hybrid", format!("1:name=systemd:/docker/{A}\n0::/\n"), A),
            ("hybrid, unified first", format!("0::/\n1:name=systemd:/docker/{A}\n"), A),
            ("docker with a cgroup of its own inside", format!("0::/system.slice/docker-{A}.scope/init.scope"), A),
            ("docker under a parent", format!("0::/ci.slice/jobs/{A}"), A),
            ("docker in docker", format!("0::/docker/{A}/docker/{B}"), B),
            ("kind", format!("0::/system.slice/docker-{A}.scope/kubelet.slice/{pod}/cri-containerd-{B}.scope"), B),
            (
                "containerd, systemd",
                format!("0::/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{A}.scope"),
                A,
            ),
            ("containerd, cgroupfs", format!("0::/kubepods/besteffort/pod2c48913c-b29f-11e7-9350-020968147796/{A}"), A),
            ("containerd, mixed", format!("0::/system.slice/containerd.service/{pod}:cri-containerd:{A}"), A),
            ("containerd, v1, mixed", format!("4:memory:/system.slice/containerd.service/{pod}:cri-containerd:{A}"), A),
            ("guaranteed pod", format!("0::/kubepods.slice/kubepods-pod5ffcb53c.slice/crio-{A}.scope/container"), A),
            ("CRI-O", format!("0::/kubepods.slice/kubepods-besteffort.slice/{pod}/crio-{A}.scope"), A),
            ("CRI-O, cgroupfs", format!("6:cpu,cpuacct:/kubepods/burstable/pod2c48913c/crio-{A}"), A),
            ("podman", format!("0::/machine.slice/libpod-{A}.scope/container"), A),
            (
                "podman, rootless",
                format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope"),
                A,
            ),
            ("podman, in a unit", format!("0::/system.slice/web.service/libpod-payload-{A}"), A),
            ("podman, cgroupfs", format!("0::/libpod_parent/libpod-{A}"), A),
            ("podman with systemd inside", format!("0::/machine.slice/libpod-{A}.scope/system.slice/ssh.service"), A),
            ("podman, pod", format!("0::/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope/container"), A),
            ("podman, pod, cgroupfs", format!("0::/libpod_parent/{B}/libpod-{A}"), A),
            (
                "podman, pod, rootless",
                format!(
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{B}.slice/libpod-{A}.scope"
                ),
                A,
            ),
            (
                "podman, v1",
                format!("4:memory:/machine.slice/libpod-{A}.scope\n1:name=systemd:/machine.slice/libpod-{A}.scope\n"),
                A,
            ),
            ("podman, hybrid", format!("9:name=systemd:/\n4:memory:/\n0::/libpod_parent/libpod-{A}\n"), A),
            ("podman, seen from another container", format!("9:name=systemd:/\n0::/../libpod-{A}/container\n"), A),
            (
                "docker, systemd, hybrid",
                format!("1:name=systemd:/system.slice/docker-{A}.scope\n0::/system.slice/docker-{A}.scope\n"),
                A,
            ),
            ("cri-dockerd", format!("0::/kubepods.slice/kubepods-besteffort.slice/{pod}/docker-{A}.scope"), A),
            (
                "containerd, v1",
                format!("9:memory:/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{A}.scope\n0::/\n"),
                A,
            ),
            ("a pod seen from another", format!("0::/../../pod2c48913c-b29f-11e7-9350-020968147796/{A}"), A),
            (
                "CRI-O with cgroups of its own inside",
                format!("0::/kubepods.slice/{pod}/crio-{A}.scope/container/app.service"),
                A,
            ),
            ("k3s in docker", format!("0::/docker/{A}/kubepods/besteffort/pod2c48913c/{B}"), B),
            ("nerdctl", format!("0::/default/{A}"), A),
            ("nerdctl, systemd", format!("0::/system.slice/nerdctl-{A}.scope"), A),
            ("seen from another cgroup namespace", format!("0::/../../cri-containerd-{A}.scope"), A),
            ("ECS on EC2", format!("9:perf_event:/ecs/{TASK}/{A}"), A),
            ("Fargate", format!("1:name=systemd:/ecs/{TASK}/{TASK}-2495160603"), &format!("{TASK}-2495160603")),
            ("old Fargate", format!("1:name=systemd:/ecs/{TASK}"), TASK),
            ("a cgroup removed already", format!("0::/system.slice/docker-{A}.scope (deleted)"), A),
        ] {
            assert_eq!(id(&text), Some(expected), "{name}: {text}");
        }
    }

    #[test]
    fn the_host_is_no_container() {
        for text in [
            String::new(),
            "\n\n".to_owned(),
            "0::/".to_owned(),
            "0::/init.scope".to_owned(),
            "0::/system.slice/docker.service".to_owned(),
            "0::/user.slice/user-1000.slice/session-3.scope".to_owned(),
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podb15c3a7c0ea24c39b2b5c1ee2a4a8b11.slice"
                .to_owned(),
            format!("0::/machine.slice/libpod-conmon-{A}.scope"),
            format!("0::/kubepods.slice/crio-conmon-{A}.scope"),
            "0::/libpod_parent/conmon".to_owned(),
            format!("0::/libpod_parent/{A}/conmon"),
            format!("0::/machine.slice/machine-libpod_pod_{A}.slice"),
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/podman-2137.scope".to_owned(),
            "0::/../../system.slice/cron.service".to_owned(),
            "9:name=systemd:/\n4:memory:/../..\n0::/../..\n".to_owned(),
            format!("4:memory:/service/{TASK}"),
            format!("4:memory:/service/{TASK}-2495160603"),
            format!("0::/docker/{}", &A[1..]),
            format!("0::/docker/{A}0"),
            format!("0::/docker/{}", A.to_uppercase()),
            format!("0::/docker-{A}.slice"),
            A.to_owned(),
            format!("0:{A}"),
        ] {
            assert_eq!(id(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-9a-f]{32}|[0-9a-f]{64}|[-:/.é\n]|ecs|scope){0,12}") {
            if let Some(id) = id(&text) {
                prop_assert!(text.contains(id));
            }
        }
    }
}
