//! Loading the eBPF object and attaching its programs.

use super::attach::{Hooks, unload};
use super::btf::{Anchor, Btf};
use super::counters::Counters;
use super::error::{LoadError, refused};
use super::hook::{Candidate, Choice, Fact, Mechanism, Place, Refusal, candidates};
use super::layout::{self, Resolved};
use super::loader::loader;
use super::preemption::Kernel;
use super::ring::Ring;
use super::settings::SettingsMap;
use crate::event::BootTime;
use aya::maps::{Array, HashMap, Map, MapError};
use aya::{Btf as AyaBtf, Ebpf, Endianness, VerifierLogLevel};
use sensor_common::counter::TOLD_ROWS;
use sensor_common::layout::Field;
use sensor_common::record::{Arm, Inherited};
use sensor_common::settings::{INHERITED_CAPACITY, Names, PENDING_CAPACITY, Slot};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The object that `cargo xtask ebpf` has built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SENSOR_BPF_OBJECT"));

/// Of the ring buffer for the kernel side's messages, all of which is mapped: enough for some hundred, and each of their causes is
/// counted too.
const LOG_BYTES: u32 = 32 << 10;

/// Blocks of memory from which on the C library gives them back at once, its own first value.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 128 << 10;

/// Flag of a map update: only if there is no entry yet.
const BPF_NOEXIST: u64 = 1;

/// Where the kernel shows its own type information (CONFIG_DEBUG_INFO_BTF).
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where `struct pt_regs` holds a function's first argument.
const ARGUMENT_OFFSET: u64 = if cfg!(target_arch = "x86_64") {
    112 // di
} else {
    0 // regs[0] on aarch64
};

/// What to load and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Type information to resolve offsets from; the kernel's own by default.
    pub btf: PathBuf,
    /// Names that the kernel side looks for.
    pub names: Names,
    /// First settings.
    pub slot: Slot,
    /// Only this kind of hook for connect; `None` tries all in order.
    pub connect: Option<Mechanism>,
    /// Only this kind of hook for accept; `None` tries all in order.
    pub accept: Option<Mechanism>,
    /// Do not look at accepts at all.
    pub accept_off: bool,
    /// Look at forks.
    pub fork: bool,
    /// Size of the ring buffer of connections in bytes: a power of two, at least a page.
    pub connections_bytes: u32,
    /// Size of the ring buffer of executions, likewise.
    pub executions_bytes: u32,
}

/// The kernel side, loaded and attached. Dropping it detaches everything.
pub struct Loaded {
    ebpf: Ebpf,
    /// How each fact is seen.
    pub choices: Vec<Choice>,
    /// Optional members that this kernel does not have.
    pub missing: Vec<&'static Field>,
    /// The counters.
    pub counters: Arc<Counters>,
    /// The settings.
    pub settings: SettingsMap,
}

/// The kernel side before anything is attached: the maps are there, the programs are not loaded. Dropping it leaves nothing.
pub struct Prepared {
    ebpf: Ebpf,
    parameters: Parameters,
    btf: AyaBtf,
    kernel: Kernel,
    missing: Vec<&'static Field>,
    counters: Arc<Counters>,
    settings: SettingsMap,
}

/// Resolves offsets, creates the maps, loads and attaches the programs.
///
/// # Errors
///
/// See [`LoadError`].
pub fn load(options: &Options) -> Result<Loaded, LoadError> {
    let mut prepared = prepare(options)?;
    // As in Fact::ALL.
    let choices = vec![
        prepared.attach(Fact::Exec, None)?,
        if options.fork { prepared.attach(Fact::Fork, None)? } else { Choice::off(Fact::Fork) },
        prepared.attach(Fact::Connect, options.connect)?,
        if options.accept_off { Choice::off(Fact::Accept) } else { prepared.attach(Fact::Accept, options.accept)? },
    ];
    let Prepared { ebpf, missing, counters, settings, btf, .. } = prepared;
    drop(btf);
    give_back_memory();
    Ok(Loaded { ebpf, choices, missing, counters, settings })
}

/// Resolves offsets and creates the maps.
///
/// # Errors
///
/// See [`LoadError`].
pub fn prepare(options: &Options) -> Result<Prepared, LoadError> {
    keep_blocks_apart();
    let Inspected { resolved, parameters, typed_current, anchors } = inspect(&options.btf)?;
    let copies = possible_cpus()?;

    let mut loader = loader();
    loader
        // What the verifier objects to, and not every instruction on the way there, for which it takes seconds on some kernels
        // whenever a candidate is refused.
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("LAYOUT", bytemuck::bytes_of(&resolved.layout), true)
        .override_global("NAMES", bytemuck::bytes_of(&options.names), true)
        .override_global("ARGUMENT_OFFSET", &ARGUMENT_OFFSET, true)
        .override_global("TYPED_CURRENT", &typed_current, true)
        .map_max_entries("COUNTS", copies.saturating_add(TOLD_ROWS))
        // Each CPU keeps up to 128 free entries to itself, and half of the rest is not evicted from.
        .map_max_entries("PENDING", PENDING_CAPACITY.saturating_add(copies.saturating_mul(256)))
        .map_max_entries("INHERITED", INHERITED_CAPACITY.saturating_add(copies.saturating_mul(256)))
        .map_max_entries("CONNECTIONS", options.connections_bytes)
        .map_max_entries("EXECUTIONS", options.executions_bytes)
        .map_max_entries("AYA_LOGS", LOG_BYTES);
    let ebpf = loader.load(OBJECT).map_err(|error| refused(&error, LoadError::Object))?;

    let copies = usize::try_from(copies).unwrap_or(usize::MAX);
    let counters = Arc::new(Counters::new(ebpf.map("COUNTS").ok_or(LoadError::Missing("map COUNTS"))?, copies)?);
    let mut settings = SettingsMap::new(ebpf.map("SETTINGS").ok_or(LoadError::Missing("map SETTINGS"))?)?;
    settings.write(&options.slot);

    let btf = AyaBtf::parse(&anchors, Endianness::default()).map_err(|error| LoadError::AyaBtf(error.to_string()))?;
    Ok(Prepared { ebpf, parameters, btf, kernel: Kernel::running(), missing: resolved.missing, counters, settings })
}

impl Prepared {
    /// Attaches the first candidate for a fact that this kernel takes, or the one that is forced.
    fn attach(&mut self, fact: Fact, forced: Option<Mechanism>) -> Result<Choice, LoadError> {
        self.hooks().attach(fact, forced)
    }

    /// Attaches one candidate.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one of its programs; none of them is attached then.
    pub fn try_out(&mut self, candidate: &Candidate) -> Result<(), Refusal> {
        self.hooks().attach_all(candidate)
    }

    fn hooks(&mut self) -> Hooks<'_> {
        Hooks::new(&mut self.ebpf, &self.parameters, &self.btf, self.kernel)
    }

    /// The ring buffers of connections and of executions. Must be called within a tokio runtime, once.
    ///
    /// # Errors
    ///
    /// When a map is not what the object declares.
    pub fn rings(&mut self) -> Result<(Ring, Ring), LoadError> {
        rings(&mut self.ebpf)
    }

    /// Remembers connections as if a hook had seen them, at this time.
    ///
    /// # Errors
    ///
    /// When a map is not what the object declares, or takes no entry.
    pub fn remember(&mut self, arms: &[Arm], now: BootTime) -> Result<(), LoadError> {
        remember(&mut self.ebpf, arms, &[], || now)
    }

    /// What a process has inherited, if it has.
    ///
    /// # Errors
    ///
    /// When the map is not what the object declares.
    pub fn inherited(&self, tgid: u32) -> Result<Option<Inherited>, LoadError> {
        let failed = |error: MapError| LoadError::MapMemory { name: "INHERITED", reason: io::Error::other(error) };
        let map = self.ebpf.map("INHERITED").ok_or(LoadError::Missing("map INHERITED"))?;
        let inherited = HashMap::<_, u32, [u8; size_of::<Inherited>()]>::try_from(map).map_err(failed)?;
        match inherited.get(&tgid, 0) {
            Ok(bytes) => Ok(Some(bytemuck::cast(bytes))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The object, for what reads its programs and maps.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Detaches and unloads all programs; they can be tried out again.
    pub fn detach(&mut self) {
        detach(&mut self.ebpf);
    }
}

fn rings(ebpf: &mut Ebpf) -> Result<(Ring, Ring), LoadError> {
    let connections = ebpf.take_map("CONNECTIONS").ok_or(LoadError::Missing("map CONNECTIONS"))?;
    let executions = ebpf.take_map("EXECUTIONS").ok_or(LoadError::Missing("map EXECUTIONS"))?;
    Ok((Ring::new(connections, "CONNECTIONS")?, Ring::new(executions, "EXECUTIONS")?))
}

fn remember(
    ebpf: &mut Ebpf,
    arms: &[Arm],
    inherited: &[Inherited],
    now: impl FnOnce() -> BootTime,
) -> Result<(), LoadError> {
    if arms.is_empty() && inherited.is_empty() {
        return Ok(());
    }
    insert::<{ size_of::<Arm>() }>(ebpf, "PENDING", arms.iter().map(|arm| (arm.tgid, bytemuck::cast(*arm))))?;
    let inherited = inherited.iter().map(|inherited| (inherited.tgid, bytemuck::cast(*inherited)));
    insert::<{ size_of::<Inherited>() }>(ebpf, "INHERITED", inherited)?;
    let failed = |error: MapError| LoadError::MapMemory { name: ".bss", reason: io::Error::other(error) };
    let map = ebpf.map_mut(".bss").ok_or(LoadError::Missing("section .bss"))?;
    let mut last_armed = Array::<_, u64>::try_from(map).map_err(failed)?;
    // As late as can be: it must not be older than what a hook has written meanwhile.
    last_armed.set(0, now().0, 0).map_err(failed)
}

/// What a hook has seen in the meantime is newer and stays.
fn insert<const LEN: usize>(
    ebpf: &mut Ebpf,
    name: &'static str,
    entries: impl Iterator<Item = (u32, [u8; LEN])>,
) -> Result<(), LoadError> {
    let failed = |error: MapError| LoadError::MapMemory { name, reason: io::Error::other(error) };
    let map = ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut table = HashMap::<_, u32, [u8; LEN]>::try_from(map).map_err(failed)?;
    for (process, value) in entries {
        match table.insert(process, value, BPF_NOEXIST) {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed)?,
        }
    }
    Ok(())
}

fn detach(ebpf: &mut Ebpf) {
    for (_, program) in ebpf.programs_mut() {
        unload(program);
    }
}

/// Hooked functions and how many parameters they have on this kernel.
type Parameters = Vec<(&'static str, usize)>;

/// What is asked of the kernel's type information.
struct Inspected {
    /// The offsets.
    resolved: Resolved,
    /// How many parameters the hooked functions have.
    parameters: Parameters,
    /// 1 if there is a helper that tells the running task as a typed pointer, otherwise 0.
    typed_current: u64,
    /// As much of it as attaching takes.
    anchors: Vec<u8>,
}

/// Asks it, and lets it go.
fn inspect(path: &Path) -> Result<Inspected, LoadError> {
    let btf = Btf::read(path).map_err(|reason| LoadError::Btf { path: path.to_owned(), reason })?;
    let resolved = layout::resolve(&btf)?;
    let attachments = Fact::ALL.into_iter().flat_map(candidates).flat_map(|candidate| candidate.attachments);
    let places = attachments.map(|attachment| attachment.place);
    let functions = places.clone().filter_map(|place| match place {
        Place::FunctionExit(function, Some(_)) => Some(function),
        _ => None,
    });
    let parameters =
        functions.filter_map(|function| Some((function, btf.prototype(function)?.parameters.len()))).collect();
    let anchors: Vec<Anchor> = places.filter_map(anchor).collect();
    let typed_current = u64::from(btf.has_function("bpf_get_current_task_btf"));
    Ok(Inspected { resolved, parameters, typed_current, anchors: btf.extract(&anchors) })
}

/// What a place is called by in type information, if it is named by that.
fn anchor(place: Place) -> Option<Anchor> {
    match place {
        Place::FunctionExit(function, _) | Place::FunctionEntry(function) => Some(Anchor::Function(function)),
        Place::BtfTracepoint(tracepoint) => Some(Anchor::Tracepoint(tracepoint)),
        Place::Kprobe(_) | Place::RawTracepoint(_) | Place::Tracepoint(..) => None,
    }
}

/// Once a large block is freed, the C library would take even larger ones from the memory that it keeps: such a block cannot grow in
/// its place, is copied instead, and what was copied stays.
fn keep_blocks_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes plain numbers, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Loading takes some memory in small blocks for a moment; the C library would keep them for later.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a plain number, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Loaded {
    /// The ring buffers of connections and of executions. Must be called within a tokio runtime, once.
    ///
    /// # Errors
    ///
    /// When a map is not what the object declares.
    pub fn rings(&mut self) -> Result<(Ring, Ring), LoadError> {
        rings(&mut self.ebpf)
    }

    /// The maps that another sensor can go on with, beside the ring buffers.
    #[must_use]
    pub fn maps(&self) -> Vec<BorrowedFd<'_>> {
        let map = |name| match self.ebpf.map(name)? {
            Map::LruHashMap(map) | Map::Array(map) => Some(map.fd().as_fd()),
            _ => None,
        };
        ["PENDING", "INHERITED", "COUNTS"].into_iter().filter_map(map).collect()
    }

    /// Remembers connections that exist already, and who has inherited one, as if a hook had seen them; `now` tells the time.
    ///
    /// # Errors
    ///
    /// When a map is not what the object declares, or takes no entry.
    pub fn remember(
        &mut self,
        arms: &[Arm],
        inherited: &[Inherited],
        now: impl FnOnce() -> BootTime,
    ) -> Result<(), LoadError> {
        remember(&mut self.ebpf, arms, inherited, now)
    }

    /// The object, for what reads its programs and maps.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Detaches and unloads all programs. The maps stay, so that what is in the ring buffers can still be read.
    pub fn detach(&mut self) {
        detach(&mut self.ebpf);
    }
}

/// How many CPUs the kernel may ever use.
fn possible_cpus() -> Result<u32, LoadError> {
    let unknown = |(path, reason): (&'static str, io::Error)| LoadError::MapMemory { name: path, reason };
    let cpus = aya::util::nr_cpus().map_err(unknown)?;
    Ok(u32::try_from(cpus).unwrap_or(u32::MAX))
}
