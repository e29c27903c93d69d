//! The system calls of a running sensor. Any other fails as one that is not permitted, with a line in the kernel's audit log: it is
//! either a fault of the sensor or somebody who has taken it over. It is not ended, since either would end the watch.
//!
//! To let the sensor do more, add the call here, as narrow as its arguments allow. Calls that only a start makes do not belong
//! here, nor do any that make a process or executable memory, or sockets and files that no output needs.

use super::Needs;
use super::seccomp::{Refusals, Threads, take_on};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::io;

/// Calls with whatever arguments.
const PLAIN: &[i64] = &[
    // Reading, and writing to what is open.
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fcntl,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_recvfrom,
    // Waiting.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    // Threads and signals.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Giving up more, which a thread does that was held up.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_landlock_restrict_self,
];

/// The same where the architecture has them; newer ones have only their successors.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// The parts of open(2)'s flags that decide what may become of a file.
const OPEN_MASK: u64 = bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND);
/// Appending to a file that is made if it is not there.
const OPEN_TO_APPEND: u64 = bits(libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND);
const READ_MASK: u64 = bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);
/// `PERF_EVENT_IOC_DISABLE` of linux/perf_event.h: `_IO('$', 1)`.
const PERF_EVENT_IOC_DISABLE: u64 = 0x2401;
/// `PR_SET_VMA` of linux/prctl.h: the C library names its memory so.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// With a socket that connects.
const CONNECTING: &[i64] = &[libc::SYS_connect, libc::SYS_setsockopt];
/// With one that connects over TCP: `sendmmsg` is how the C library asks for both kinds of addresses, `getsockname` how it sorts
/// them, and `uname` tells it the domain in which it looks for short names.
const OVER_TCP: &[i64] = &[
    libc::SYS_sendmmsg,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_shutdown,
    libc::SYS_uname,
];
/// `FIONBIO`, `FIONREAD` and `SIOCOUTQ` of asm-generic/ioctls.h and linux/sockios.h: whether it blocks, what there is to read,
/// what has not been acknowledged.
const SOCKET_IOCTLS: [u64; 3] = [0x5421, 0x541b, 0x5411];

/// `TCGETS`, `TCGETS2`, `TIOCGWINSZ` and `TIOCGPGRP` of asm-generic/ioctls.h: whether it is a terminal, how wide, and which processes
/// are in its foreground.
const TERMINAL_IOCTLS: [u64; 4] = [0x5401, 0x802c_542a, 0x5413, 0x540f];

/// The bits of a flag, which no sign extends.
#[expect(clippy::cast_sign_loss, reason = "flags are bits")]
const fn bits(flags: i32) -> u64 {
    flags as u32 as u64
}

/// Lets no thread make another call than these; how many different ones there are.
///
/// # Errors
/// The kernel refuses.
pub(super) fn restrict_all(needs: &Needs) -> io::Result<usize> {
    restrict(needs, Threads::All, Refusals::Logged)
}

fn restrict(needs: &Needs, threads: Threads, refusals: Refusals) -> io::Result<usize> {
    let (tried, mut calls) = (tried(needs).map_err(io::Error::other)?, calls(needs).map_err(io::Error::other)?);
    let number = calls.len();
    let silent = filter(tried.clone(), SeccompAction::Errno(libc::ENOSYS.unsigned_abs()), SeccompAction::Allow);
    for (call, rules) in tried {
        calls.entry(call).or_default().extend(rules);
    }
    let others = filter(calls, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM.unsigned_abs()));
    // Of two filters the one that refuses has its way. The second refuses also to take on another.
    take_on(&silent.map_err(io::Error::other)?, threads, Refusals::Silent)?;
    take_on(&others.map_err(io::Error::other)?, threads, refusals)?;
    Ok(number)
}

type Calls = BTreeMap<i64, Vec<SeccompRule>>;

/// Does one thing with these calls, and another with all others.
fn filter(calls: Calls, these: SeccompAction, others: SeccompAction) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(calls, others, these, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Calls that the C library tries, and does without where the kernel does not have them: no line in the log is to tell of these.
fn tried(needs: &Needs) -> Result<Calls, BackendError> {
    // It has its flags in memory, where no filter sees them.
    let mut calls = Calls::from([(libc::SYS_clone3, Vec::new())]);
    if !needs.tcp.is_empty() {
        // Looking up an address asks a cache for it, and the kernel which kinds of addresses there are.
        let cache = (!needs.unix).then_some(libc::AF_UNIX);
        let families = [libc::AF_NETLINK].into_iter().chain(cache).map(|family| equal(0, bits(family)));
        calls.insert(libc::SYS_socket, families.collect::<Result<_, _>>()?);
    }
    Ok(calls)
}

/// What each call is allowed with; any of the rules is enough, and no rule allows it with anything.
fn calls(needs: &Needs) -> Result<Calls, BackendError> {
    let tcp = !needs.tcp.is_empty();
    let mut calls: Calls = PLAIN.iter().chain(OLD).map(|call| (*call, Vec::new())).collect();
    let mut allow = |more: &[i64]| calls.extend(more.iter().map(|call| (*call, Vec::new())));
    if needs.journal {
        allow(&[libc::SYS_sendmsg, libc::SYS_memfd_create]);
    }
    if needs.serves {
        allow(&[libc::SYS_accept4, libc::SYS_getsockopt, libc::SYS_shutdown]);
    }
    if needs.unix || tcp {
        allow(CONNECTING);
    }
    if tcp {
        allow(OVER_TCP);
    }
    if !needs.spools.is_empty() {
        allow(&[libc::SYS_ftruncate, libc::SYS_fsync, libc::SYS_fdatasync]);
    }
    if !(needs.removes.is_empty() && needs.spools.is_empty()) {
        allow(&[libc::SYS_unlinkat]);
        #[cfg(target_arch = "x86_64")]
        allow(&[libc::SYS_unlink]);
    }
    calls.extend(narrow(needs)?);
    Ok(calls)
}

/// Calls that are allowed with certain arguments.
fn narrow(needs: &Needs) -> Result<Calls, BackendError> {
    let tcp = !needs.tcp.is_empty();
    // The place of the flags among the arguments.
    let opened = |flags| {
        let appends = !(needs.appends.is_empty() && needs.spools.is_empty());
        let append = appends.then(|| masked(flags, OPEN_MASK, OPEN_TO_APPEND));
        [masked(flags, READ_MASK, 0)].into_iter().chain(append).collect::<Result<_, _>>()
    };
    let any_of =
        |argument, values: &[u64]| values.iter().map(|value| equal(argument, *value)).collect::<Result<_, _>>();
    let no_execution = || masked(2, bits(libc::PROT_EXEC), 0);
    let thread = bits(libc::CLONE_THREAD | libc::CLONE_VM);
    let mut ioctls = vec![PERF_EVENT_IOC_DISABLE];
    let more = [(tcp, &SOCKET_IOCTLS[..]), (needs.terminal, &TERMINAL_IOCTLS[..])];
    ioctls.extend(more.into_iter().filter(|(needed, _)| *needed).flat_map(|(_, more)| more));
    let prctls = [bits(libc::PR_SET_NAME), bits(libc::PR_SET_NO_NEW_PRIVS), PR_SET_VMA];
    let mut calls = Calls::from([
        (libc::SYS_openat, opened(2)?),
        (libc::SYS_mmap, vec![no_execution()?]),
        (libc::SYS_mprotect, vec![no_execution()?]),
        (libc::SYS_clone, vec![masked(0, thread, thread)?]),
        (libc::SYS_prctl, any_of(0, &prctls)?),
        (libc::SYS_ioctl, any_of(1, &ioctls)?),
        // To the other end of a socket that has one, not to an address.
        (libc::SYS_sendto, vec![rule(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?]),
        // A panic ends the process.
        (libc::SYS_tgkill, vec![equal(0, u64::from(std::process::id()))?]),
    ]);
    #[cfg(target_arch = "x86_64")]
    calls.insert(libc::SYS_open, opened(1)?);
    let families = [(needs.unix, libc::AF_UNIX), (tcp, libc::AF_INET), (tcp, libc::AF_INET6)];
    let families: Vec<u64> = families.iter().filter(|(needed, _)| *needed).map(|(_, family)| bits(*family)).collect();
    if !families.is_empty() {
        calls.insert(libc::SYS_socket, any_of(0, &families)?);
    }
    Ok(calls)
}

/// The kernel takes 32 bits of these arguments, whatever stands in the others.
fn equal(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    rule(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    rule(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

fn rule(argument: u8, len: SeccompCmpArgLen, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, len, operator, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// Runs `f` on a thread of its own that is restricted; other tests go on as they are.
    fn restricted<T: Send + 'static>(appends: bool, f: impl FnOnce() -> T + Send + 'static) -> T {
        let run = move || {
            let needs = Needs { appends: appends.then(|| "events".into()).into_iter().collect(), ..Needs::default() };
            restrict(&needs, Threads::This, Refusals::Silent).unwrap();
            f()
        };
        std::thread::spawn(run).join().unwrap()
    }

    fn errno<T>(result: io::Result<T>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    const REFUSED: Option<i32> = Some(libc::EPERM);

    #[test]
    fn what_a_running_sensor_does_goes_on() {
        let text = restricted(false, || {
            let text = std::thread::Builder::new().name("other".to_owned()).spawn(|| std::fs::read("/proc/self/stat"));
            std::thread::sleep(std::time::Duration::from_millis(1));
            text.unwrap().join().unwrap()
        });
        assert!(!text.unwrap().is_empty());
    }

    #[test]
    fn files_are_opened_to_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let each = |path: PathBuf| {
            let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
            [
                errno(append(&path)),
                errno(File::create(&path)),
                errno(OpenOptions::new().write(true).open(&path)),
                errno(OpenOptions::new().read(true).append(true).open(&path)),
                errno(File::open("/proc/self/stat")),
                errno(rustix::fs::open("/proc/self", OFlags::PATH, Mode::empty()).map_err(Into::into)),
                errno(rustix::fs::open(&path, OFlags::RDWR, Mode::empty()).map_err(Into::into)),
            ]
        };
        let place = path.clone();
        assert_eq!(restricted(false, move || each(place)), [REFUSED, REFUSED, REFUSED, REFUSED, None, None, REFUSED]);
        assert_eq!(restricted(true, move || each(path)), [None, REFUSED, REFUSED, REFUSED, None, None, REFUSED]);
    }

    /// Each kind of output has its sockets, and no others. What the C library tries is refused as what the kernel does not have.
    #[test]
    fn sockets_are_those_of_the_outputs() {
        let families = [AddressFamily::UNIX, AddressFamily::INET, AddressFamily::INET6, AddressFamily::NETLINK];
        let made = |unix, tcp: &[u16]| {
            let needs = Needs { unix, tcp: tcp.to_vec(), ..Needs::default() };
            let run = move || {
                restrict(&needs, Threads::This, Refusals::Silent).unwrap();
                families.map(|family| socket(family, SocketType::DGRAM, None).err())
            };
            std::thread::spawn(run).join().unwrap()
        };
        let (refused, lacking) = (Some(Errno::PERM), Some(Errno::NOSYS));
        assert_eq!(made(false, &[]), [refused; 4]);
        assert_eq!(made(true, &[]), [None, refused, refused, refused]);
        assert_eq!(made(false, &[514]), [lacking, None, None, lacking]);
        assert_eq!(made(true, &[514]), [None, None, None, lacking]);
    }

    #[test]
    fn a_terminal_is_asked_only_where_there_is_one() {
        let asked = |terminal| {
            let run = move || {
                restrict(&Needs { terminal, ..Needs::default() }, Threads::This, Refusals::Silent).unwrap();
                let nothing = File::open("/dev/null").unwrap();
                [rustix::termios::tcgetwinsize(&nothing).map(drop), rustix::termios::tcgetpgrp(&nothing).map(drop)]
            };
            std::thread::spawn(run).join().unwrap()
        };
        assert_eq!([false, true].map(asked), [[Err(Errno::PERM); 2], [Err(Errno::NOTTY); 2]]);
    }

    #[test]
    fn nothing_new_is_made() {
        restricted(true, || {
            assert_eq!(errno(Command::new("true").status()), REFUSED);
            assert_eq!(socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap_err(), Errno::PERM);
            assert_eq!(errno(std::fs::create_dir("/nonexistent/x")), REFUSED);
            assert_eq!(errno(std::fs::remove_file("/nonexistent/x")), REFUSED);
            let memory = memmap2::MmapOptions::new().len(4096).map_anon().unwrap();
            assert_eq!(errno(memory.make_exec()), REFUSED);
            let other = rustix::process::Pid::from_raw(1).unwrap();
            assert_eq!(rustix::process::test_kill_process(other), Err(Errno::PERM));
        });
    }
}
