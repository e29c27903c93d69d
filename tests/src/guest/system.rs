//! What makes the machine a system: mounts, a root, a loopback device, a few files below /etc; and switching it off.

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};
use rustix::system::{RebootCommand, reboot, sethostname};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

/// Directory that becomes the root.
const NEW_ROOT: &str = "/root";
/// Where the programs lie then.
pub(crate) const SENSOR: &str = "/bin/sensor";
pub(crate) const SUITE: &str = "/bin/sensor-tests";

/// File systems, in the order in which they are mounted: type, place, options.
const MOUNTS: [(&str, &str, &str); 9] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("devpts", "/dev/pts", ""),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", ""),
];

/// Files that every system has, for one that does not have them or has nothing in them: name, content.
const FILES: [(&str, &str); 4] = [
    ("/etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"),
    ("/etc/hostname", "guest\n"),
    ("/etc/machine-id", "3a5fb1b7c1d24e5c9b0f0e6a77d1c0de\n"),
    ("/etc/os-release", "ID=debian\nNAME=\"Guest\"\nVERSION_ID=\"1\"\n"),
];

/// How long the kernel may take to find the disk.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does all of it, with the disk as the root or without one.
pub(crate) fn set_up(disk: Option<&str>) -> Result<()> {
    match disk {
        Some(disk) => mount_disk(disk).with_context(|| format!("the disk {disk}"))?,
        None => mount_one("tmpfs", NEW_ROOT, "mode=0755")?,
    }
    change_root(&[SENSOR, SUITE]).context("the root")?;
    for (kind, place, options) in MOUNTS {
        std::fs::create_dir_all(place)?;
        mount_one(kind, place, options)?;
    }
    files()?;
    sethostname(b"guest").context("host name")?;
    loopback_up().context("loopback device")
}

/// Makes the disk the root, with these programs on it, and leaves the rest to the system that is there.
pub(crate) fn set_up_disk(disk: &str, programs: &[&str]) -> Result<()> {
    mount_disk(disk).with_context(|| format!("the disk {disk}"))?;
    change_root(programs).context("the root")?;
    files()
}

fn files() -> Result<()> {
    std::fs::create_dir_all("/etc")?;
    for (name, content) in FILES {
        if !Path::new(name).metadata().is_ok_and(|file| file.len() > 0) {
            std::fs::write(name, content).context(name)?;
        }
    }
    Ok(())
}

/// Mounts the disk, which the kernel may still be looking for.
fn mount_disk(disk: &str) -> Result<()> {
    const DEVICES: &str = "/dev";
    mount_one("devtmpfs", DEVICES, "")?;
    let start = Instant::now();
    while !Path::new(disk).exists() {
        ensure!(start.elapsed() < PATIENCE, "it is not there after {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
    mount(disk, NEW_ROOT, "ext4", MountFlags::NOATIME, None).context("mounting it")?;
    Ok(unmount(DEVICES, UnmountFlags::empty())?)
}

fn mount_one(kind: &str, place: &str, options: &str) -> Result<()> {
    let options = CString::new(options)?;
    mount(kind, place, kind, MountFlags::empty(), Some(options.as_c_str()))
        .with_context(|| format!("mounting {kind} at {place}"))
}

/// Moves to the file system that was mounted: the first one can be no container's old root (pivot_root(2)).
fn change_root(programs: &[&str]) -> Result<()> {
    std::fs::create_dir_all(format!("{NEW_ROOT}/bin"))?;
    for program in programs {
        let name = Path::new(program).file_name().context("no name")?;
        let packed = Path::new("/").join(name);
        std::fs::copy(&packed, format!("{NEW_ROOT}{program}")).with_context(|| packed.display().to_string())?;
        // It would stay in memory twice.
        std::fs::remove_file(&packed)?;
    }
    std::env::set_current_dir(NEW_ROOT)?;
    mount_move(".", "/").context("moving it")?;
    rustix::process::chroot(".").context("chroot")?;
    Ok(std::env::set_current_dir("/")?)
}

/// Brings the loopback device up, as in netdevice(7).
fn loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, SocketType, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: a structure of bytes and integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from)?;
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING)?;
    // SAFETY: the request reads this structure, and the kernel keeps no pointer to it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    anyhow::ensure!(result == 0, "ioctl: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Wakes every processor again and again. To attach a program to a function the kernel waits until each processor has changed
/// from one task to another (synchronize_rcu_tasks), which one that has nothing to do does every few seconds alone.
pub(crate) fn keep_awake() -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    for cpu in 0..std::thread::available_parallelism()?.get() {
        let mut only = CpuSet::new();
        only.set(cpu);
        std::thread::Builder::new().name(format!("awake/{cpu}")).spawn(move || {
            if let Err(error) = sched_setaffinity(None, &only) {
                crate::tell::log(&format!("processor {cpu} is not kept awake: {error}"));
                return;
            }
            loop {
                std::thread::sleep(PAUSE);
            }
        })?;
    }
    Ok(())
}

/// Switches the machine off. Returns only if that fails.
pub(crate) fn power_off() {
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        crate::tell::log(&format!("the machine cannot be switched off: {error}"));
    }
}
