//! Loading the eBPF object and attaching its programs.

use super::btf::{Btf, BtfError};
use super::counters::Counters;
use super::hook::{Attachment, Candidate, Choice, Fact, Mechanism, Place, Refusal, candidates};
use super::layout::{self, LayoutError, Resolved};
use super::ring::Ring;
use super::settings::SettingsMap;
use super::tracefs::with_tracefs;
use aya::maps::{Array, HashMap, MapError};
use aya::programs::{Program, ProgramError};
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader};
use sensor_common::layout::Field;
use sensor_common::record::Arm;
use sensor_common::settings::{Names, Slot};
use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// The object that `cargo xtask ebpf` has built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SENSOR_BPF_OBJECT"));

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
    /// Size of the ring buffer of connections in bytes: a power of two, at least a page.
    pub connections_bytes: u32,
    /// Size of the ring buffer of executions, likewise.
    pub executions_bytes: u32,
}

/// Why the kernel side could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No privilege to load eBPF programs.
    #[error("not permitted to load eBPF programs: {0}; run as root, or with CAP_BPF and CAP_PERFMON")]
    NotPermitted(String),
    /// No type information.
    #[error("the kernel's type information {} cannot be used: {source}; the sensor needs a kernel built with CONFIG_DEBUG_INFO_BTF", path.display())]
    Btf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BtfError,
    },
    /// aya cannot use the type information.
    #[error("the kernel's type information cannot be used: {0}")]
    AyaBtf(String),
    /// A member that the sensor needs is not there.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The object could not be loaded.
    #[error("the eBPF maps cannot be created: {0}")]
    Object(String),
    /// The object lacks something that this program expects in it.
    #[error("the eBPF object has no {0}; build it anew with `cargo xtask ebpf`")]
    Missing(&'static str),
    /// A map is of another kind than expected.
    #[error("the map {name} is of an unexpected kind")]
    MapKind {
        /// Name of the map.
        name: &'static str,
    },
    /// A map cannot be used from user space.
    #[error("the map {name} cannot be used: {source}")]
    MapMemory {
        /// Name of the map.
        name: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No candidate for a fact.
    #[error("this kernel has no usable hook for {fact}: {}", reasons(refusals))]
    NoHook {
        /// The fact.
        fact: Fact,
        /// What was tried, and why it was refused.
        refusals: Vec<Refusal>,
    },
}

fn reasons(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("{}: {}", refusal.mechanism, refusal.reason)).collect::<Vec<_>>().join("; ")
}

/// The kernel side, loaded and attached. Dropping it detaches everything.
pub struct Loaded {
    ebpf: Ebpf,
    /// How each fact is seen.
    pub choices: Vec<Choice>,
    /// Optional members that this kernel does not have.
    pub missing: Vec<&'static Field>,
    /// The counters.
    pub counters: Counters,
    /// The settings.
    pub settings: SettingsMap,
}

/// Resolves offsets, creates the maps, loads and attaches the programs.
///
/// # Errors
///
/// See [`LoadError`].
pub fn load(options: &Options) -> Result<Loaded, LoadError> {
    let (resolved, parameters) = inspect(&options.btf)?;
    let copies = possible_cpus();

    let mut loader = EbpfLoader::new();
    loader
        .btf(None)
        .override_global("LAYOUT", bytemuck::bytes_of(&resolved.layout), true)
        .override_global("NAMES", bytemuck::bytes_of(&options.names), true)
        .override_global("ARGUMENT_OFFSET", &ARGUMENT_OFFSET, true)
        .map_max_entries("COUNTS", copies)
        .map_max_entries("CONNECTIONS", options.connections_bytes)
        .map_max_entries("EXECUTIONS", options.executions_bytes);
    let mut ebpf = loader.load(OBJECT).map_err(|error| refused(&error, LoadError::Object))?;

    let copies = usize::try_from(copies).unwrap_or(usize::MAX);
    let counters = Counters::new(ebpf.map("COUNTS").ok_or(LoadError::Missing("map COUNTS"))?, copies)?;
    let mut settings = SettingsMap::new(ebpf.map("SETTINGS").ok_or(LoadError::Missing("map SETTINGS"))?)?;
    settings.write(&options.slot);

    let aya_btf = AyaBtf::from_sys_fs().map_err(|error| LoadError::AyaBtf(error.to_string()))?;
    let mut hooks = Hooks { ebpf: &mut ebpf, parameters: &parameters, btf: &aya_btf, loaded: HashSet::new() };
    // The exec hook first: an execution that follows a connection is then never missed.
    let choices = vec![
        hooks.attach(Fact::Exec, None)?,
        hooks.attach(Fact::Connect, options.connect)?,
        if options.accept_off {
            Choice { fact: Fact::Accept, candidate: None, refusals: Vec::new() }
        } else {
            hooks.attach(Fact::Accept, options.accept)?
        },
    ];
    drop(aya_btf);
    give_back_memory();
    Ok(Loaded { ebpf, choices, missing: resolved.missing, counters, settings })
}

/// Hooked functions and how many parameters they have on this kernel.
type Parameters = Vec<(&'static str, usize)>;

/// What is asked of the kernel's type information: the offsets, and how many parameters the hooked functions have.
fn inspect(path: &Path) -> Result<(Resolved, Parameters), LoadError> {
    let btf = Btf::read(path).map_err(|source| LoadError::Btf { path: path.to_owned(), source })?;
    let resolved = layout::resolve(&btf)?;
    let attachments = [Fact::Connect, Fact::Accept, Fact::Exec].into_iter().flat_map(candidates);
    let functions =
        attachments.flat_map(|candidate| candidate.attachments).filter_map(|attachment| match attachment.place {
            Place::FunctionExit(function, Some(_)) => Some(function),
            _ => None,
        });
    let parameters =
        functions.filter_map(|function| Some((function, btf.prototype(function)?.parameters.len()))).collect();
    Ok((resolved, parameters))
}

/// Parsing the kernel's type information takes some 15 MB for a moment; the C library would keep them for later.
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
        let connections = self.ebpf.take_map("CONNECTIONS").ok_or(LoadError::Missing("map CONNECTIONS"))?;
        let executions = self.ebpf.take_map("EXECUTIONS").ok_or(LoadError::Missing("map EXECUTIONS"))?;
        Ok((Ring::new(connections, "CONNECTIONS")?, Ring::new(executions, "EXECUTIONS")?))
    }

    /// Remembers connections that exist already, as if a hook had seen them.
    ///
    /// # Errors
    ///
    /// When a map is not what the object declares, or takes no entry.
    pub fn remember(&mut self, arms: &[Arm]) -> Result<(), LoadError> {
        let Some(newest) = arms.iter().map(|arm| arm.boot_ns).max() else { return Ok(()) };
        let failed = |name| move |error: MapError| LoadError::MapMemory { name, source: io::Error::other(error) };
        let map = self.ebpf.map_mut("PENDING").ok_or(LoadError::Missing("map PENDING"))?;
        let mut pending = HashMap::<_, u32, [u8; size_of::<Arm>()]>::try_from(map).map_err(failed("PENDING"))?;
        for arm in arms {
            // What a hook has seen in the meantime is newer and stays.
            let inserted = pending.insert(arm.tgid, bytemuck::cast::<Arm, [u8; size_of::<Arm>()]>(*arm), BPF_NOEXIST);
            match inserted {
                Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(failed("PENDING"))?,
            }
        }
        let map = self.ebpf.map_mut(".bss").ok_or(LoadError::Missing("section .bss"))?;
        let mut last_armed = Array::<_, u64>::try_from(map).map_err(failed(".bss"))?;
        last_armed.set(0, newest, 0).map_err(failed(".bss"))
    }

    /// The object, for what reads its programs and maps.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Detaches and unloads all programs. The maps stay, so that what is in the ring buffers can still be read.
    pub fn detach(&mut self) {
        for (_, program) in self.ebpf.programs_mut() {
            unload(program);
        }
    }
}

struct Hooks<'a> {
    ebpf: &'a mut Ebpf,
    parameters: &'a [(&'static str, usize)],
    btf: &'a AyaBtf,
    loaded: HashSet<&'static str>,
}

impl Hooks<'_> {
    fn attach(&mut self, fact: Fact, forced: Option<Mechanism>) -> Result<Choice, LoadError> {
        let mut refusals = Vec::new();
        let mut permitted = false;
        for candidate in candidates(fact).iter().filter(|candidate| forced.is_none_or(|m| m == candidate.mechanism)) {
            match self.attach_all(candidate) {
                Ok(()) => return Ok(Choice { fact, candidate: Some(*candidate), refusals }),
                Err(failure) => {
                    permitted |= !failure.not_permitted;
                    refusals.push(Refusal { mechanism: candidate.mechanism, reason: failure.reason });
                }
            }
        }
        if permitted || rustix::process::geteuid().is_root() {
            Err(LoadError::NoHook { fact, refusals })
        } else {
            Err(LoadError::NotPermitted(reasons(&refusals)))
        }
    }

    /// Attaches all of a candidate's programs or none.
    fn attach_all(&mut self, candidate: &Candidate) -> Result<(), Failure> {
        let mut attached = Vec::new();
        for attachment in candidate.attachments {
            if !self.fits(attachment) {
                continue;
            }
            if let Err(failure) = self.attach_one(attachment) {
                for program in attached.into_iter().chain([attachment.program]) {
                    self.unload(program);
                }
                return Err(failure);
            }
            attached.push(attachment.program);
        }
        if attached.is_empty() {
            let reason = "no program fits this kernel's function prototypes".to_owned();
            return Err(Failure { reason, not_permitted: false });
        }
        Ok(())
    }

    /// Whether the function at which a program is attached has the parameters that the program expects.
    fn fits(&self, attachment: &Attachment) -> bool {
        let Place::FunctionExit(function, Some(expected)) = attachment.place else { return true };
        let known = self.parameters.iter().find(|(name, _)| *name == function);
        known.is_none_or(|(_, parameters)| *parameters == expected)
    }

    fn attach_one(&mut self, attachment: &Attachment) -> Result<(), Failure> {
        let name = attachment.program;
        let place = attachment.place;
        let first = self.loaded.insert(name);
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(Failure { reason: format!("the object has no program {name}"), not_permitted: false });
        };
        attach_program(program, place, first, self.btf).map_err(|error| Failure::new(place, &error))
    }

    fn unload(&mut self, name: &'static str) {
        if let Some(program) = self.ebpf.program_mut(name) {
            unload(program);
        }
        self.loaded.remove(name);
    }
}

/// Detaches and unloads a program; one that is not loaded stays so.
fn unload(program: &mut Program) {
    // Not loaded is what is wanted; there is nothing else to do about a failure.
    let _ = match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::BtfTracePoint(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        _ => Ok(()),
    };
}

fn attach_program(program: &mut Program, place: Place, first: bool, btf: &AyaBtf) -> Result<(), ProgramError> {
    match (program, place) {
        (Program::FExit(program), Place::FunctionExit(function, _)) => {
            program.load(function, btf)?;
            program.attach()?;
        }
        (Program::FEntry(program), Place::FunctionEntry(function)) => {
            program.load(function, btf)?;
            program.attach()?;
        }
        (Program::KProbe(program), Place::Kprobe(function)) => {
            program.load()?;
            program.attach(function, 0)?;
        }
        (Program::BtfTracePoint(program), Place::BtfTracepoint(tracepoint)) => {
            program.load(tracepoint, btf)?;
            program.attach()?;
        }
        (Program::RawTracePoint(program), Place::RawTracepoint(tracepoint)) => {
            program.load()?;
            program.attach(tracepoint)?;
        }
        (Program::TracePoint(program), Place::Tracepoint(category, name)) => {
            if first {
                program.load()?;
            }
            with_tracefs(|| program.attach(category, name))??;
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(())
}

/// Why an attachment failed.
struct Failure {
    reason: String,
    not_permitted: bool,
}

impl Failure {
    fn new(place: Place, error: &ProgramError) -> Self {
        Self { reason: format!("{place}: {}", chain(error)), not_permitted: is_permission(error) }
    }
}

/// An error with its causes, on one line; of the verifier's log only what it objects to.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        let mut lines = part.lines().filter(|line| !line.trim().is_empty() && !is_summary(line));
        for part in lines.next().into_iter().chain(lines.next_back()) {
            if !text.contains(part) {
                if !text.is_empty() {
                    text.push_str(": ");
                }
                text.push_str(part);
            }
        }
        next = error.source();
    }
    text
}

/// Lines with which the verifier ends every log.
fn is_summary(line: &str) -> bool {
    ["processed ", "stack depth ", "verification time "].iter().any(|start| line.starts_with(start))
}

fn is_permission(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.kind(), io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        next = error.source();
    }
    false
}

fn refused(error: &(dyn Error + 'static), otherwise: impl FnOnce(String) -> LoadError) -> LoadError {
    let text = chain(error);
    if is_permission(error) && !rustix::process::geteuid().is_root() {
        LoadError::NotPermitted(text)
    } else {
        otherwise(text)
    }
}

/// How many CPUs the kernel may ever use.
fn possible_cpus() -> u32 {
    aya::util::nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1).max(1)
}
