//! A virtual machine: QEMU with a kernel and an initramfs, whose serial console is read line by line.
//!
//! That QEMU ends is no sign of success, since it does so after a panic too: what the guest has said decides. A guest that
//! says nothing for a while, or goes on for too long, is ended.

use crate::shell;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// The ways in which a processor is emulated or lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The host's own processor.
    Kvm,
    /// Translation by a thread for each processor; works everywhere, many times slower.
    Tcg,
    /// Translation by one thread, slower still, which can count instructions, and has not the fault that
    /// [`Transcript::emulator_failed`](super::transcript::Transcript::emulator_failed) looks for.
    Single,
}

/// A processor that guests can have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor {
    /// As Rust calls it.
    pub(crate) arch: &'static str,
    /// As Debian calls it.
    pub(crate) debian_arch: &'static str,
    /// The program that emulates it.
    pub(crate) program: &'static str,
    /// The package of that program.
    pub(crate) package: &'static str,
    /// Options that choose the machine.
    pub(crate) options: &'static [&'static str],
    /// Parameters of the kernel beside those that all have.
    pub(crate) parameters: &'static str,
    /// The kernel's name of the first serial port.
    pub(crate) console: &'static str,
    /// Series on which it is tested if none are named.
    pub(crate) usual: &'static [&'static str],
}

/// Without the two features the kernel clears pages by eight bytes at a time: an emulator goes through them one by one.
pub(crate) const X86_64: Processor = Processor {
    arch: "x86_64",
    debian_arch: "amd64",
    program: "qemu-system-x86_64",
    package: "qemu-system-x86",
    options: &["-cpu", "max,-erms,-fsrm"],
    parameters: "",
    console: "ttyS0",
    // The long-lived ones, and the newest.
    usual: &["5.10", "6.1", "6.12", "newest"],
};

/// One whose clock goes on by a nanosecond with each instruction, and while it waits jumps to the end of that. Everything that
/// differs from one start to the next is fixed: the date, the processor's kind, random numbers, addresses.
pub(crate) const X86_64_COUNTING: Processor = Processor {
    options: &[
        "-cpu",
        "Haswell-v4,-rdrand,-rdseed",
        "-icount",
        "shift=0,sleep=off,align=off",
        "-rtc",
        "base=2026-01-01,clock=vm",
        "-seed",
        "1",
    ],
    parameters: "nokaslr randomize_kstack_offset=0 mitigations=off tsc=reliable",
    ..X86_64
};

/// Authenticated pointers, which the kernel uses in every function if it can, cost an emulator a lot.
pub(crate) const AARCH64: Processor = Processor {
    arch: "aarch64",
    debian_arch: "arm64",
    program: "qemu-system-aarch64",
    package: "qemu-system-arm",
    options: &["-machine", "virt,gic-version=max", "-cpu", "max,pauth=off"],
    parameters: "",
    console: "ttyAMA0",
    // One without fentry and one with it.
    usual: &["6.1", "6.12"],
};

/// All of them.
pub(crate) const PROCESSORS: [Processor; 2] = [X86_64, AARCH64];

/// What a guest is given.
pub(crate) struct Guest<'a> {
    pub(crate) processor: Processor,
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: &'a Path,
    /// What the guest starts from; without, its kernel comes to the point where it looks for a first program.
    pub(crate) initramfs: Option<&'a Path>,
    /// A disk that the guest may write to; what it writes is forgotten.
    pub(crate) disk: Option<&'a Path>,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
}

/// How long a guest may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the start to the end.
    pub(crate) total: Duration,
    /// From one line on the console to the next.
    pub(crate) silence: Duration,
}

/// What came of a machine's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    /// How it ended.
    pub(crate) ended: Ended,
    /// The longest time for which the host itself stood still, paused or overloaded, if it did.
    pub(crate) stood_still: Option<Duration>,
}

/// How a machine's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// QEMU ended by itself, with a good exit status.
    Off,
    /// QEMU failed, with what it said.
    Failed(String),
    /// Nothing was said for so long.
    Silent(Duration),
    /// It was not at its end after so long.
    TooLong(Duration),
}

/// Parameters of the kernel: an error in it ends the machine at once. What takes too long does not, since it may be the host
/// that stood still; the kernel tells of it. How long that is must stay as it is: half of it is also when the kernel begins to
/// hurry processors that others wait for, as everyone does who attaches a program. Processes lie at the same addresses: an
/// emulator translates a program anew for each address at which it runs, and looks through all translations when its memory is
/// used again.
const PARAMETERS: &str = "quiet norandmaps panic=-1 oops=panic";

/// How often it is seen whether the host goes on, and from which delay on it has stood still.
const PULSE: Duration = Duration::from_secs(1);
const STILL: Duration = Duration::from_secs(5);

/// For a kernel that does nothing but start. The host's own processor takes a second or two.
const TRIAL: Limits = Limits { total: Duration::from_secs(60), silence: Duration::from_secs(60) };

/// Longest line that is read whole; a longer one is taken in parts.
const LINE: u64 = 1 << 20;

/// The guest's name of its disk.
pub(crate) const DISK: &str = "/dev/nvme0n1";

impl Guest<'_> {
    fn command(&self) -> Command {
        let Self { processor, accelerator, kernel, initramfs, disk, memory_mib, cpus } = self;
        // The machine ends with the thread that waits for it, also when that is killed (setpriv is a part of util-linux).
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", processor.program]);
        command.args(processor.options).args(["-accel", accelerator.option()]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]);
        command.args(["-m", &memory_mib.to_string(), "-smp", &cpus.to_string()]);
        command.arg("-kernel").arg(kernel);
        if let Some(initramfs) = initramfs {
            command.arg("-initrd").arg(initramfs);
        }
        if let Some(disk) = disk {
            // Kernels have the driver of such a disk built in.
            command.args(["-device", "nvme,drive=disk,serial=disk", "-drive", &drive(disk)]);
        }
        let Processor { console, parameters, .. } = processor;
        command.args(["-append", &format!("console={console} {PARAMETERS} {parameters}")]);
        command
    }

    /// Runs the machine to its end and hands over each line of its console as it comes.
    pub(crate) fn run(&self, limits: Limits, each: impl FnMut(&str)) -> Result<Ran> {
        run(&mut self.command(), limits, each)
    }
}

/// The option for the disk's file. A comma in its name is written twice.
fn drive(disk: &Path) -> String {
    let name = disk.display().to_string().replace(',', ",,");
    format!("if=none,id=disk,format=raw,snapshot=on,cache=unsafe,file={name}")
}

impl Accelerator {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "an emulated processor",
            Self::Single => "a processor emulated by one thread",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
            Self::Single => "tcg,thread=single",
        }
    }

    /// The host's own processor if it really carries these kernels: that its device is there says little, and that QEMU can set up a machine
    /// does not say that one runs.
    pub(crate) fn best<'a>(processor: Processor, mut kernels: impl Iterator<Item = &'a Path>) -> Self {
        if processor.arch != std::env::consts::ARCH || !Path::new("/dev/kvm").exists() {
            return Self::Tcg;
        }
        if kernels.all(|kernel| Self::Kvm.carries(processor, kernel)) { Self::Kvm } else { Self::Tcg }
    }

    /// Whether a kernel comes to the point where it looks for its first program, of which it is given none.
    fn carries(self, processor: Processor, kernel: &Path) -> bool {
        let guest =
            Guest { processor, accelerator: self, kernel, initramfs: None, disk: None, memory_mib: 512, cpus: 2 };
        let mut came = false;
        let ran = guest.run(TRIAL, |line| came |= line.contains("Unable to mount root fs"));
        came && ran.is_ok_and(|ran| ran.ended == Ended::Off)
    }
}

/// A child that does not outlive this.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command, limits: Limits, mut each: impl FnMut(&str)) -> Result<Ran> {
    let text = shell::describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().with_context(|| format!("cannot run `{text}`"))?);
    let console = child.0.stdout.take().context("no console")?;
    let mut errors = child.0.stderr.take().context("no standard error")?;
    let (sender, lines) = sync_channel(1024);
    // Both threads end with QEMU, which closes their pipes.
    std::thread::spawn(move || {
        let mut console = BufReader::new(console);
        loop {
            let mut line = Vec::new();
            match console.by_ref().take(LINE).read_until(b'\n', &mut line) {
                Ok(1..) if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_ok() => {}
                _ => break,
            }
        }
    });
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        // What cannot be read is not told.
        let _ = errors.read_to_string(&mut text);
        text
    });
    let (ended, stood_still) = read(&lines, limits, &mut each);
    if let Some(ended) = ended {
        return Ok(Ran { ended, stood_still });
    }
    let status = child.0.wait().with_context(|| format!("`{text}`"))?;
    let said = errors.join().unwrap_or_default();
    let failed = || Ended::Failed(format!("`{text}` failed: {status}\n{said}"));
    Ok(Ran { ended: if status.success() { Ended::Off } else { failed() }, stood_still })
}

/// Hands over lines until there are no more; tells why if that takes too long, and whether the host stood still.
fn read(lines: &Receiver<String>, limits: Limits, each: &mut impl FnMut(&str)) -> (Option<Ended>, Option<Duration>) {
    let start = Instant::now();
    let mut heard = start;
    let mut stood_still = None;
    loop {
        let before = Instant::now();
        let received = lines.recv_timeout(PULSE);
        let now = Instant::now();
        let late = (now - before).saturating_sub(PULSE);
        if late >= STILL {
            stood_still = stood_still.max(Some(late));
            // The guest stood still too.
            heard = now;
        }
        match received {
            Ok(line) => {
                heard = now;
                each(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return (None, stood_still),
            Err(RecvTimeoutError::Timeout) if now - heard >= limits.silence => {
                return (Some(Ended::Silent(limits.silence)), stood_still);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if now - start >= limits.total {
            return (Some(Ended::TooLong(limits.total)), stood_still);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, total_ms: u64, silence_ms: u64) -> (Ended, Vec<String>) {
        let limits = Limits { total: Duration::from_millis(total_ms), silence: Duration::from_millis(silence_ms) };
        let mut lines = Vec::new();
        let ran = run(Command::new("sh").args(["-c", script]), limits, |line| lines.push(line.to_owned())).unwrap();
        (ran.ended, lines)
    }

    #[test]
    fn lines_come_whole_and_the_end_is_told() {
        let (ended, lines) = shell("printf 'one\\r\\ntwo\\nthree'", 20_000, 20_000);
        assert_eq!((ended, lines), (Ended::Off, ["one", "two", "three"].map(str::to_owned).to_vec()));
        let (ended, _) = shell("echo reason >&2; exit 3", 20_000, 20_000);
        assert!(matches!(&ended, Ended::Failed(text) if text.contains("reason") && text.contains('3')), "{ended:?}");
    }

    #[test]
    fn silence_and_length_end_it() {
        let start = Instant::now();
        let (ended, lines) = shell("echo hello; exec sleep 60", 60_000, 300);
        assert_eq!((ended, lines.len()), (Ended::Silent(Duration::from_millis(300)), 1));
        let (ended, _) = shell("while :; do echo again; sleep 0.05; done", 1000, 60_000);
        assert_eq!(ended, Ended::TooLong(Duration::from_secs(1)));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let limits = Limits { total: Duration::from_secs(1), silence: Duration::from_secs(1) };
        let error = run(&mut Command::new("qemu-system-none"), limits, |_| {}).unwrap_err();
        assert!(format!("{error:#}").contains("qemu-system-none"));
    }
}
