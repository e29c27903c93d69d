//! How much memory the sensor takes, and how much it may take.

use super::mounts::Mount;
use super::survey::{CgroupLimit, Memory};
use crate::config::Rings;
use rustix::process::{Resource, getrlimit};
use sensor_common::record::Arm;
use sensor_common::settings::PENDING_CAPACITY;
use std::fs;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// What the start takes beside maps and type information: programs while they are verified, the process itself. Measured.
const BASE: u64 = 16 * MIB;
/// The kernel's type information is parsed, which takes this many times its size. Measured.
const BTF_FACTOR: u64 = 4;
/// An entry of the table of pending connections: key, value, and what the kernel adds (`struct htab_elem`).
const PENDING_BYTES: u64 = 8 + size_of::<Arm>() as u64 + 48;
/// Free entries of that table, the counters, and the place where a record is put together, for each CPU.
const CPU_BYTES: u64 = 96 << 10;
/// A limit that is none: control groups write the largest number of whole pages.
const UNLIMITED: u64 = 1 << 62;

/// What is needed and what is allowed. `btf` is the size of the type information in bytes.
pub(super) fn survey(rings: &Rings, btf: u64, release: &str, mounts: &[Mount]) -> Memory {
    let cpus = aya::util::nr_cpus().ok().and_then(|cpus| u64::try_from(cpus).ok()).unwrap_or(1);
    let maps = maps(rings, cpus);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Memory {
        needed: BASE + maps + BTF_FACTOR.saturating_mul(btf),
        cgroup: lowest(&directories(&groups, mounts)),
        maps,
        memlock: getrlimit(Resource::Memlock).current,
        memlock_counts: counts_maps(release),
    }
}

fn maps(rings: &Rings, cpus: u64) -> u64 {
    let Rings { connections, executions } = rings;
    let pending = u64::from(PENDING_CAPACITY) * PENDING_BYTES;
    u64::from(*connections) + u64::from(*executions) + pending + cpus.saturating_mul(CPU_BYTES)
}

/// Since 5.11 eBPF maps count as memory of the control group, before as locked memory of the user.
fn counts_maps(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < (5, 11),
        _ => false,
    }
}

/// A control group's directory, the mount point that it lies below, and the file that holds its limit.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    directory: PathBuf,
    mount: PathBuf,
    file: &'static str,
}

/// The control groups for memory that /proc/PID/cgroup tells of, cgroups(7).
fn directories(groups: &str, mounts: &[Mount]) -> Vec<Group> {
    groups.lines().filter_map(|line| group(line, mounts)).collect()
}

/// `0::/path`, or `4:memory:/path` in version 1.
fn group(line: &str, mounts: &[Mount]) -> Option<Group> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let has_memory = |list: &str| list.split(',').any(|name| name == "memory");
    let (mount, file) = if number == "0" && controllers.is_empty() {
        (mounts.iter().find(|mount| mount.kind == "cgroup2")?, "memory.max")
    } else if has_memory(controllers) {
        let version_1 = |mount: &&Mount| mount.kind == "cgroup" && has_memory(&mount.options);
        (mounts.iter().find(version_1)?, "memory.limit_in_bytes")
    } else {
        return None;
    };
    // A container may see only a part of the hierarchy mounted.
    let below = Path::new(path).strip_prefix(&mount.root).or_else(|_| Path::new(path).strip_prefix("/")).ok()?;
    if below.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    let mount = PathBuf::from(&mount.point);
    Some(Group { directory: mount.join(below), mount, file })
}

/// The lowest limit of these groups and of those that they are in.
fn lowest(groups: &[Group]) -> Option<CgroupLimit> {
    let all = groups.iter().flat_map(|Group { directory, mount, file }| {
        let up_to_mount = directory.ancestors().take_while(move |ancestor| ancestor.starts_with(mount));
        up_to_mount.map(move |ancestor| ancestor.join(file))
    });
    let limits = all.filter_map(|file| {
        let bytes = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        (bytes < UNLIMITED).then_some(CgroupLimit { file, bytes })
    });
    limits.min_by_key(|limit| limit.bytes)
}

#[cfg(test)]
mod tests {
    use super::super::mounts::parse;
    use super::*;

    const VERSION_2: &str = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                          32 30 0:28 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                          33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn of(groups: &str, mounts: &str) -> Vec<(String, &'static str)> {
        let groups = directories(groups, &parse(mounts));
        groups.into_iter().map(|group| (group.directory.display().to_string(), group.file)).collect()
    }

    #[test]
    fn the_groups_of_every_version_are_found() {
        assert_eq!(
            of("0::/system.slice/sensor.service\n", VERSION_2),
            [("/sys/fs/cgroup/system.slice/sensor.service".to_owned(), "memory.max")]
        );
        let hybrid = of("9:cpu:/\n4:memory:/docker/x/y\n1:name=systemd:/\n0::/\n", HYBRID);
        let expected = [
            ("/sys/fs/cgroup/memory/y".to_owned(), "memory.limit_in_bytes"),
            ("/sys/fs/cgroup/unified/".to_owned(), "memory.max"),
        ];
        assert_eq!(hybrid, expected);
        assert_eq!(of("0::/../other\n4:memory\nx\n\n0:\n", VERSION_2), []);
        assert_eq!(of("0::/\n", ""), []);
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let group = Group { directory: inner.clone(), mount: root.path().to_owned(), file: "memory.max" };
        assert_eq!(lowest(&[]), None);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(lowest(std::slice::from_ref(&group)), None);
        fs::write(inner.join("memory.max"), "9223372036854771712\n").unwrap();
        assert_eq!(lowest(std::slice::from_ref(&group)), None);
        fs::write(root.path().join("a/memory.max"), "1048576\n").unwrap();
        fs::write(inner.join("memory.max"), "2097152\n").unwrap();
        let limit = lowest(&[group]).unwrap();
        assert_eq!((limit.bytes, limit.file), (MIB, root.path().join("a/memory.max")));
    }

    #[test]
    fn kernels_up_to_5_10_count_maps_as_locked_memory() {
        for (release, counts) in [
            ("5.10.0-38-cloud-amd64", true),
            ("5.4.1", true),
            ("5.11", false),
            ("6.1.0", false),
            ("4.19.0", true),
            ("next", false),
        ] {
            assert_eq!(counts_maps(release), counts, "{release}");
        }
    }

    #[test]
    fn larger_rings_and_more_processors_need_more() {
        let rings = |bytes| Rings { connections: bytes, executions: bytes };
        assert_eq!(maps(&rings(2 << 20), 4) - maps(&rings(1 << 20), 4), 2 * MIB);
        assert_eq!(maps(&rings(1 << 20), 5) - maps(&rings(1 << 20), 4), CPU_BYTES);
    }
}
