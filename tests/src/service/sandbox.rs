//! The sandbox of the unit: how tight it is, that everything works in it, and with which settings of it the sensor could not work.

use super::unit::{Unit, output, run};
use super::{Check, skip};
use anyhow::{Context, Result, ensure};
use std::fs;

pub(super) const TABLE: &[Check] = &[
    ("systemd finds nothing wrong with the unit", verified),
    ("systemd-analyze security: at most 2.0", exposure),
    ("without CAP_SYS_ADMIN there are hooks too", without_admin),
    ("it needs nothing more for hooks at the exit of functions", fexit),
    ("without a capability that it needs it says so, and is not tried again", without_bpf),
    ("a /proc without /proc/sys is named, and not tried again", proc_subset),
    ("a user namespace of its own is no place for it, which it says", private_users),
    ("a process namespace of its own is said, and there are alerts", private_pids),
    ("where /proc hides processes it keeps the capability to see them", protect_proc),
    ("its memory is limited", memory),
];

fn verified(_: &mut Unit) -> Result<String> {
    let output = output(&["systemd-analyze", "verify", "sensor.service"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(String::new())
}

fn exposure(_: &mut Unit) -> Result<String> {
    at_most(2.0)
}

pub(super) fn at_most(limit: f64) -> Result<String> {
    let text = run(&["systemd-analyze", "--no-pager", "security", "sensor.service"])?;
    // Such as `→ Overall exposure level for sensor.service: 1.7 OK 🙂`.
    let line = text.lines().last().context("systemd-analyze has said nothing")?;
    let (_, rest) = line.split_once("sensor.service: ").with_context(|| line.to_owned())?;
    let figure: f64 = rest.split(' ').next().unwrap_or_default().parse().with_context(|| line.to_owned())?;
    ensure!(figure <= limit, "{figure} is above {limit}:\n{text}");
    Ok(format!("{figure}"))
}

/// What a unit with these capabilities alone says of them.
fn capabilities(names: &str) -> String {
    let settings = ["AmbientCapabilities", "CapabilityBoundingSet"].map(|name| format!("{name}=\n{name}={names}\n"));
    format!("[Service]\n{}", settings.concat())
}

fn without_admin(unit: &mut Unit) -> Result<String> {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let with = unit.hooks()?;
    unit.add(&capabilities("CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"))?;
    unit.restart()?;
    let without = unit.hooks()?;
    unit.alerts()?;
    Ok(format!(
        "kernel.perf_event_paranoid = {}: connect={}, accept={}; with it connect={}, accept={}",
        paranoid.trim(),
        without.0,
        without.1,
        with.0,
        with.1
    ))
}

/// By itself the sensor takes these hooks only where the kernel cannot preempt their programs.
fn fexit(unit: &mut Unit) -> Result<String> {
    unit.configure("[hooks]\nconnect = \"fentry\"\naccept = \"fentry\"\n")?;
    if !output(&["systemctl", "restart", "sensor"])?.status.success() {
        let said = unit.property("StatusText")?;
        ensure!(said.contains("fexit tcp_connect: "), "it does not start: {said}");
        return skip("this kernel refuses fexit programs");
    }
    let (connect, accept) = unit.hooks()?;
    ensure!(connect == "fentry" && accept == "fentry", "connect={connect}, accept={accept}");
    unit.alerts()?;
    unit.property("StatusText")
}

fn without_bpf(unit: &mut Unit) -> Result<String> {
    unit.add(&capabilities("CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"))?;
    unit.gives_up("5", "CAP_BPF")?;
    Ok(String::new())
}

fn proc_subset(unit: &mut Unit) -> Result<String> {
    unit.add("[Service]\nProcSubset=pid\n")?;
    unit.gives_up("4", "ProcSubset")?;
    Ok(String::new())
}

fn private_users(unit: &mut Unit) -> Result<String> {
    unit.add("[Service]\nPrivateUsers=yes\n")?;
    unit.gives_up("5", "not permitted")?;
    Ok(String::new())
}

/// Since systemd 257.
fn private_pids(unit: &mut Unit) -> Result<String> {
    let version = run(&["systemctl", "--version"])?;
    let version: u32 = version.split(' ').nth(1).context("no version")?.parse()?;
    if version < 257 {
        return skip("systemd before 257 does not know PrivatePIDs=");
    }
    unit.add("[Service]\nPrivatePIDs=yes\n")?;
    unit.restart()?;
    unit.alerts()?;
    ensure!(unit.journal().contains("not the host's"), "it does not say that it sees no process");
    Ok(String::new())
}

fn protect_proc(unit: &mut Unit) -> Result<String> {
    unit.add("[Service]\nProtectProc=invisible\n")?;
    unit.restart()?;
    unit.alerts()?;
    let journal = unit.journal();
    let expected = "left are capabilities: CAP_SYS_PTRACE; ";
    ensure!(journal.contains(expected) && journal.contains("since /proc hides processes"), "no {expected:?}");
    Ok(String::new())
}

fn memory(unit: &mut Unit) -> Result<String> {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !controllers.split_ascii_whitespace().any(|controller| controller == "memory") {
        return skip(
            "no limit of memory is in force here: this kernel counts it in another hierarchy of cgroups, or not at all",
        );
    }
    unit.alerts()?;
    // The buffers, tables and programs of the kernel side count too.
    let peak: u64 = unit.property("MemoryPeak")?.parse().context("MemoryPeak")?;
    let limit: u64 = unit.property("MemoryMax")?.parse().context("MemoryMax")?;
    ensure!(peak < limit / 2, "{peak} bytes at the most, of {limit}");
    unit.add("[Service]\nMemoryMax=8M\nMemorySwapMax=0\nRestart=no\n")?;
    let restart = output(&["systemctl", "restart", "sensor"])?;
    ensure!(!restart.status.success(), "it starts with 8 MiB");
    unit.expect("Result", "oom-kill")?;
    Ok(format!("{} MiB at the most", peak >> 20))
}
