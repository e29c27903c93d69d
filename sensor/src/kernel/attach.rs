//! Trying the candidates for a fact, one after the other, by really loading and attaching their programs.

use super::error::{LoadError, chain, is_permission, may_load, reasons};
use super::hook::{Attachment, Candidate, Choice, Fact, Mechanism, Place, Refusal, ordered};
use super::preemption::Kernel;
use super::tracefs::with_tracefs;
use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf};
use std::collections::HashSet;

/// Where a kernel with kprobes tells the number by which perf knows them (4.17).
pub const KPROBE_TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";

/// The object's programs while they are being attached.
pub(super) struct Hooks<'a> {
    ebpf: &'a mut Ebpf,
    parameters: &'a [(&'static str, usize)],
    btf: &'a Btf,
    kernel: Kernel,
    loaded: HashSet<&'static str>,
}

impl<'a> Hooks<'a> {
    /// `parameters` says how many parameters the hooked functions have on this kernel, of those that exist.
    pub(super) fn new(
        ebpf: &'a mut Ebpf,
        parameters: &'a [(&'static str, usize)],
        btf: &'a Btf,
        kernel: Kernel,
    ) -> Self {
        Self { ebpf, parameters, btf, kernel, loaded: HashSet::new() }
    }

    /// Attaches the first candidate for a fact that this kernel takes, or the one that is forced.
    pub(super) fn attach(&mut self, fact: Fact, forced: Option<Mechanism>) -> Result<Choice, LoadError> {
        let mut refusals = Vec::new();
        let mut permitted = false;
        let kernel = self.kernel;
        for candidate in ordered(fact, kernel).iter().filter(|one| forced.is_none_or(|kind| kind == one.mechanism)) {
            match self.attach_all(candidate) {
                Ok(()) => {
                    let preempted = kernel.preempts(candidate.preempted);
                    return Ok(Choice { fact, candidate: Some(*candidate), preempted, refusals });
                }
                Err(refusal) => {
                    permitted |= !refusal.not_permitted;
                    refusals.push(refusal);
                }
            }
        }
        if permitted || may_load() {
            Err(LoadError::NoHook { fact, refusals })
        } else {
            Err(LoadError::NotPermitted(reasons(&refusals)))
        }
    }

    /// Attaches all of a candidate's programs or none.
    pub(super) fn attach_all(&mut self, candidate: &Candidate) -> Result<(), Refusal> {
        let refused = |reason, not_permitted| Refusal { mechanism: candidate.mechanism, reason, not_permitted };
        let mut attached = Vec::new();
        for attachment in candidate.attachments {
            if !self.fits(attachment) {
                continue;
            }
            if let Err(Failure { reason, not_permitted }) = self.attach_one(attachment) {
                for program in attached.into_iter().chain([attachment.program]) {
                    self.unload(program);
                }
                return Err(refused(reason, not_permitted));
            }
            attached.push(attachment.program);
        }
        if attached.is_empty() {
            return Err(refused("no program fits this kernel's function prototypes".to_owned(), false));
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
        if matches!(place, Place::Kprobe(_)) && may_load() {
            // Without them the program would be verified in vain, which is most of what a start takes. Who may load none is told that.
            std::fs::metadata(KPROBE_TYPE).map_err(|error| Failure {
                reason: format!("{place}: `{KPROBE_TYPE}`: {error}"),
                not_permitted: error.kind() == std::io::ErrorKind::PermissionDenied,
            })?;
        }
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
pub(super) fn unload(program: &mut Program) {
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

/// Loads a program, if this is its `first` place, and attaches it there until it is dropped or unloaded. `btf` is the running
/// kernel's type information.
///
/// # Errors
///
/// What the kernel says against it, or that the program is of another kind than the place.
pub fn attach_program(program: &mut Program, place: Place, first: bool, btf: &Btf) -> Result<(), ProgramError> {
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
