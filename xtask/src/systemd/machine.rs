//! A container of systemd-nspawn in which a system boots.

use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything in the container may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the container's file systems are mounted, on a file system in memory.
const PLACE: &str = "/run/sensor-systemd";
const CGROUPS: &str = "/sys/fs/cgroup";
const TRACING: &str = "/sys/kernel/tracing";
/// Calls that the sensor makes and that a container usually may not make.
const CALLS: &str = "bpf perf_event_open landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/// Where a container lives.
pub(super) struct Place {
    root: PathBuf,
    cgroup: PathBuf,
}

/// Mounts what a container needs, in the calling process's namespace of mounts: memory for its changes, one hierarchy of cgroups,
/// which not every host has, and the tracing file system.
pub(super) fn prepare(tree: &Path) -> Result<Place> {
    mount("tmpfs", &["mode=755"], Path::new("/run"))?;
    mount("cgroup2", &[], Path::new(CGROUPS))?;
    if !Path::new(TRACING).join("events").is_dir() {
        mount("tracefs", &[], Path::new(TRACING))?;
    }
    let [upper, work, root] = ["upper", "work", "root"].map(|name| Path::new(PLACE).join(name));
    for directory in [&upper, &work, &root] {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let layers = [option("lowerdir", tree), option("upperdir", &upper), option("workdir", &work)];
    mount("overlay", &layers.each_ref().map(String::as_str), &root)?;
    let cgroup = Path::new(CGROUPS).join(format!("sensor-systemd-{}", std::process::id()));
    std::fs::create_dir(&cgroup).with_context(|| cgroup.display().to_string())?;
    Ok(Place { root, cgroup })
}

fn mount(kind: &str, options: &[&str], place: &Path) -> Result<()> {
    let mut command = Command::new("mount");
    command.args(["-t", kind, "-o", &["rw"].iter().chain(options).copied().collect::<Vec<_>>().join(",")]);
    shell::run(command.arg("none").arg(place))
}

impl Place {
    /// The root of the container's file system.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what would outlive this process.
    pub(super) fn remove(self) -> Result<()> {
        remove_cgroup(&self.cgroup)
    }
}

/// A cgroup goes when those below it have gone.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    for entry in std::fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    std::fs::remove_dir(cgroup).with_context(|| format!("the cgroup {}", cgroup.display()))
}

/// A system that has booted. Killed when it is dropped.
pub(super) struct Machine<'a> {
    place: &'a Place,
    nspawn: Child,
    /// Its first process, as this host numbers it.
    leader: u32,
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // Both fail only where it has ended; the container's processes go with it.
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

impl<'a> Machine<'a> {
    /// Boots, and waits until everything is started.
    pub(super) fn boot(place: &'a Place) -> Result<Self> {
        let console = Path::new(PLACE).join("console");
        let output = || File::options().create(true).append(true).open(&console);
        // The shell puts itself into the cgroup, so that nothing else is there; what it becomes ends with this process.
        let script = "echo $$ > \"$0/cgroup.procs\" && exec setpriv --pdeathsig KILL systemd-nspawn \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&place.cgroup).args(["--quiet", "--boot", "--console=pipe"]);
        command.args(["--register=no", "--keep-unit", "--machine=sensor", "--private-network", "--capability=all"]);
        command.arg(format!("--system-call-filter={CALLS}")).arg(format!("--bind={TRACING}"));
        command.arg("--directory").arg(&place.root);
        let nspawn =
            command.stdin(Stdio::null()).stdout(output()?).stderr(output()?).spawn().context("systemd-nspawn")?;
        let mut machine = Self { place, nspawn, leader: 0 };
        let booted = machine.wait_for_boot();
        booted.with_context(|| std::fs::read_to_string(&console).unwrap_or_default())?;
        Ok(machine)
    }

    fn wait_for_boot(&mut self) -> Result<()> {
        until("the container to boot", || {
            if let Some(status) = self.nspawn.try_wait()? {
                bail!("systemd-nspawn has ended with {status}");
            }
            let Some(leader) = child_of(self.nspawn.id())? else { return Ok(None) };
            self.leader = leader;
            // It fails while there is nobody to ask, and says so where something has not started.
            let state = self.inside(&["systemctl", "is-system-running"]).output()?;
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            Ok(["running", "degraded"].contains(&state.as_str()).then_some(()))
        })
    }

    /// Boots once more.
    pub(super) fn reboot(&mut self) -> Result<()> {
        // With this status a container asks for another boot (EXIT_FORCE_RESTART).
        const AGAIN: i32 = 133;
        self.run(&["systemctl", "reboot"])?;
        let status = until("the container to go down", || Ok(self.nspawn.try_wait()?))?;
        ensure!(status.code() == Some(AGAIN), "systemd-nspawn has ended with {status}");
        *self = Self::boot(self.place)?;
        Ok(())
    }

    /// What boots there: systemd and its version.
    pub(super) fn version(&self) -> Result<String> {
        let text = self.run(&["systemctl", "--version"])?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    /// Runs a program in the container, and returns what it printed.
    pub(super) fn run(&self, words: &[&str]) -> Result<String> {
        shell::output(&mut self.inside(words))
    }

    /// A program in the container.
    pub(super) fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]);
        command.args(["--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// Shuts the system down.
    pub(super) fn power_off(mut self) -> Result<()> {
        self.run(&["systemctl", "poweroff"])?;
        let status = until("the container to shut down", || Ok(self.nspawn.try_wait()?))?;
        ensure!(status.success(), "systemd-nspawn has ended with {status}");
        Ok(())
    }
}

/// A child of a process.
fn child_of(pid: u32) -> Result<Option<u32>> {
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that ends meanwhile is none.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        if parent == Some(pid) {
            return Ok(Some(child));
        }
    }
    Ok(None)
}

/// Asks again and again until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(start.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
