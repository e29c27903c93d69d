//! Kernels that the sensor does not support, made of this one: without type information, and with that of one from before
//! 5.5, in which a member had another name.

use crate::refusal::refuses;
use crate::tell::Told;
use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use sensor::kernel::btf::KERNEL_BTF;

/// Name of a member since 5.5, and one of the same length that no kernel has.
const NAMES: [&[u8]; 2] = [b"\0start_boottime\0", b"\0real_starttime\0"];

/// Tries both.
pub(crate) fn unsupported(told: &mut Told) -> Result<()> {
    told.result("a kernel without type information is refused", without_btf())?;
    told.result("a kernel before 5.5 is refused", older())
}

/// Nothing is where it would be.
fn without_btf() -> Result<()> {
    let directory = KERNEL_BTF.trim_end_matches("/vmlinux");
    mount("tmpfs", directory, "tmpfs", MountFlags::empty(), None).context("hiding the type information")?;
    let outcome = refuses("", KERNEL_BTF);
    unmount(directory, UnmountFlags::empty()).context("showing the type information")?;
    outcome
}

/// `task_struct.start_boottime` was `real_start_time`.
fn older() -> Result<()> {
    const PATH: &str = "/tmp/older.btf";
    let mut btf = std::fs::read(KERNEL_BTF)?;
    let [now, before] = NAMES;
    let place = btf.windows(now.len()).position(|name| name == now).context("no such name")?;
    let name = btf.get_mut(place..place + now.len()).context("no such name")?;
    ensure!(name.len() == before.len(), "names of two lengths");
    name.copy_from_slice(before);
    std::fs::write(PATH, btf)?;
    let outcome = refuses(&format!("[kernel]\nbtf = \"{PATH}\"\n"), "task_struct.start_boottime");
    std::fs::remove_file(PATH)?;
    outcome
}
