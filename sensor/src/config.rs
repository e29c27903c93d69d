//! What the sensor is told: built-in defaults, which are the rule as published, and a TOML file over them.
//!
//! Every key has one meaning and one form; an unknown key is an error. `[rule]`, `[[exception]]`, `[evidence]`, `[noise]` and `[life]` can change while the
//! sensor runs, outputs as far as it has kept the rights to them, and the rest needs a restart.

mod evidence;
mod exception;
mod life;
mod noise;
mod parse;
mod print;
mod remote;
#[cfg(test)]
mod tests;

pub use evidence::Evidence;
pub use life::{Life, Place};
pub use noise::Noise;
pub use remote::{Elasticsearch, Spool, Syslog};

use crate::detect;
use crate::detect::exception::Exception;
use crate::detect::rule::{RELAYED_SHELL, REVERSE_SHELL, Relays, SHELL_ON_SOCKET};
use ipnet::IpNet;
use sensor_common::address::{Prefix, mapped};
use sensor_common::record::ENVIRONMENT_MAX;
use sensor_common::settings::{MAX_EXCLUDED, Slot, WANT_DESCENDANTS, WANT_RELAYS, WANT_STREAMS};
use serde::Deserialize;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Read if no other file is named; may be absent.
pub const DEFAULT_PATH: &str = "/etc/sensor/sensor.toml";
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What counts as a match. A reload applies it.
    pub rule: Rule,
    /// Matches that give no alert. A reload applies them.
    #[serde(deserialize_with = "exception::list")]
    pub exception: Vec<Exception>,
    /// What is told beyond what rules ask for. A reload applies it, but for `runtimes`.
    pub evidence: Evidence,
    /// How the kernel is watched.
    pub hooks: Hooks,
    /// What the host is called in documents.
    pub host: Host,
    /// What is known of the kernel.
    pub kernel: Kernel,
    /// Buffers between the kernel and the sensor.
    pub rings: Rings,
    /// Where alerts go.
    pub output: Output,
    /// How many alerts of the same thing are told. A reload applies it.
    pub noise: Noise,
    /// What is told of the sensor itself. A reload applies it.
    pub life: Life,
    /// Where the sensor's numbers can be asked for.
    pub metrics: Metrics,
}

/// `[rule]`: what counts as a match.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Longest time between a connection and the execution that belongs to it; whole milliseconds, 1 ms to 1 h.
    #[serde(deserialize_with = "parse::span")]
    pub span: Duration,
    /// Destinations that do not count, at most [`MAX_EXCLUDED`]. IPv4-mapped networks stand here as IPv4.
    #[serde(deserialize_with = "parse::excluded")]
    pub excluded: Vec<IpNet>,
    /// Programs that may stand between a connection and a shell, to the rule `relayed-shell`. Needs a restart.
    #[serde(deserialize_with = "parse::relays")]
    pub relays: Relays,
    /// Ids of rules that are off; at least one is on.
    #[serde(deserialize_with = "parse::disabled")]
    pub disabled: Vec<&'static str>,
}

/// `[hooks]`: how the kernel is watched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// How connections made are seen.
    pub connect: Hook,
    /// How connections accepted are seen; `None` (written `"off"`): not at all.
    #[serde(deserialize_with = "parse::accept")]
    pub accept: Option<Hook>,
    /// Whether forks are seen (written `"auto"` or `"off"`), where a rule asks for them.
    #[serde(deserialize_with = "parse::fork")]
    pub fork: bool,
}

/// A way to watch a kernel function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// The best one that this kernel offers.
    Auto,
    /// fentry and fexit programs only.
    Fentry,
    /// kprobes only.
    Kprobe,
    /// Tracepoints only.
    Tracepoint,
}

impl Hook {
    /// As it is written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// `[host]`: what the host is called in documents, where that differs from what it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// `host.id`.
    #[serde(deserialize_with = "parse::label")]
    pub id: Option<String>,
    /// `host.name`.
    #[serde(deserialize_with = "parse::label")]
    pub name: Option<String>,
}

/// `[kernel]`: what is known of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    /// File with the running kernel's type information (BTF), if the kernel does not offer it itself.
    #[serde(deserialize_with = "parse::absolute_path")]
    pub btf: Option<PathBuf>,
}

/// `[rings]`: sizes of the buffers between the kernel and the sensor, in bytes. Powers of two from 64 KiB, which hold the
/// largest record several times and are whole pages on every machine, to 256 MiB.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rings {
    /// For connections.
    #[serde(deserialize_with = "parse::ring")]
    pub connections: u32,
    /// For executions.
    #[serde(deserialize_with = "parse::ring")]
    pub executions: u32,
}

/// `[output]`: where alerts go; to each place that is named, independent of the others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// To standard output.
    pub stdout: bool,
    /// To this file too, a line of JSON each.
    #[serde(deserialize_with = "parse::absolute_path")]
    pub file: Option<PathBuf>,
    /// To the journal of systemd.
    pub journal: bool,
    /// To Elasticsearch or OpenSearch.
    #[serde(deserialize_with = "remote::elasticsearch")]
    pub elasticsearch: Option<Elasticsearch>,
    /// To a syslog server.
    pub syslog: Option<Syslog>,
    /// Where alerts wait while the far end of an output is away.
    pub spool: Spool,
}

/// `[metrics]`: where the sensor's numbers can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// The address; without one nobody can ask.
    #[serde(deserialize_with = "parse::listen")]
    pub listen: Option<Listen>,
}

/// A place on this host where others can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address and a port.
    Tcp(SocketAddr),
    /// An absolute path.
    Unix(PathBuf),
}

impl Listen {
    /// The path, if it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self { stdout: true, file: None, journal: false, elasticsearch: None, syslog: None, spool: Spool::default() }
    }
}

impl Default for Rule {
    fn default() -> Self {
        let net = |address: [u8; 4], length| IpNet::new_assert(address.into(), length);
        let loopback = IpNet::new_assert(std::net::Ipv6Addr::LOCALHOST.into(), 128);
        Self {
            span: Duration::from_secs(5),
            excluded: vec![net([127, 0, 0, 0], 8), net([169, 254, 0, 0], 16), net([224, 0, 0, 0], 4), loopback],
            relays: Relays::default(),
            disabled: Vec::new(),
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self { connect: Hook::Auto, accept: Some(Hook::Auto), fork: true }
    }
}

impl Default for Rings {
    fn default() -> Self {
        Self { connections: 512 << 10, executions: 4 << 20 }
    }
}

/// Why there is no valid configuration. One line each, beginning with the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too long to be a configuration.
    #[error("{}: longer than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no text.
    #[error("{}:{line}: not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first line that is no text, from 1.
        line: usize,
    },
    /// The text is no TOML, or says something that is not allowed.
    #[error("{}:{invalid}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What and where.
        invalid: parse::Invalid,
    },
}

impl Config {
    /// Reads `path`; without one [`DEFAULT_PATH`], and without that file the defaults hold.
    ///
    /// # Errors
    /// The named file is absent, or a file that is there cannot be read or is not valid.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        path.map_or_else(|| Self::read_if_there(Path::new(DEFAULT_PATH)), Self::read)
    }

    fn read_if_there(path: &Path) -> Result<Self, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            result => result,
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let error = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        File::open(path).map_err(error)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(error)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
            ConfigError::NotUtf8 { path: path.to_owned(), line: good.filter(|byte| **byte == b'\n').count() + 1 }
        })?;
        parse::config(&text).map_err(|invalid| ConfigError::Invalid { path: path.to_owned(), invalid })
    }

    /// The configuration as TOML, which read again gives the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::config(self)
    }

    /// Whether a rule is on.
    fn is_on(&self, rule: &detect::rule::Rule) -> bool {
        !self.rule.disabled.contains(&rule.id)
    }

    /// Whether a rule that is on asks for connections of ancestors.
    fn asks_for_descendants(&self) -> bool {
        self.is_on(&REVERSE_SHELL) || self.is_on(&RELAYED_SHELL)
    }

    /// Whether forks are looked at.
    #[must_use]
    pub fn watches_forks(&self) -> bool {
        self.hooks.fork && self.asks_for_descendants()
    }

    /// What the kernel side is told of the rules; a reload hands over another one.
    #[must_use]
    pub fn kernel_slot(&self) -> Slot {
        let Rule { span, excluded, relays: _, disabled: _ } = &self.rule;
        let wants = [
            (WANT_STREAMS, self.is_on(&SHELL_ON_SOCKET)),
            (WANT_DESCENDANTS, self.asks_for_descendants()),
            (WANT_RELAYS, self.is_on(&RELAYED_SHELL)),
        ];
        let mut prefixes = [Prefix::NONE; MAX_EXCLUDED];
        for (place, net) in prefixes.iter_mut().zip(excluded) {
            *place = match net {
                IpNet::V4(net) => Prefix::new(&mapped(net.network().octets()), 96 + net.prefix_len()),
                IpNet::V6(net) => Prefix::new(&net.network().octets(), net.prefix_len()),
            };
        }
        Slot {
            // An hour at most, by parsing.
            span_ns: u64::try_from(span.as_nanos()).unwrap_or(u64::MAX),
            wanted: wants.into_iter().filter_map(|(bit, is_wanted)| is_wanted.then_some(bit)).sum(),
            environment: if self.evidence.environment.is_empty() { 0 } else { ENVIRONMENT_MAX as u64 },
            excluded: prefixes,
        }
    }

    /// The keys that differ in `new` and that only a restart can apply; outputs among them, unless a reload has taken them over.
    #[must_use]
    pub fn restart_needed(&self, new: &Self) -> Vec<&'static str> {
        // Taken apart completely, so that a new key cannot be forgotten.
        let Self { rule, exception: _, evidence, hooks, host, kernel, rings, output, noise: _, life: _, metrics } =
            self;
        let Hooks { connect, accept, fork } = hooks;
        let Host { id, name } = host;
        let Kernel { btf } = kernel;
        let Rings { connections, executions } = rings;
        let Output { stdout, file, journal, elasticsearch, syslog, spool } = output;
        let Metrics { listen } = metrics;
        let keys = [
            ("evidence.runtimes", evidence.runtimes != new.evidence.runtimes),
            ("hooks.connect", *connect != new.hooks.connect),
            ("hooks.accept", *accept != new.hooks.accept),
            ("hooks.fork", *fork != new.hooks.fork),
            ("rule.relays", rule.relays != new.rule.relays),
            // Nothing sees forks; the other way round they are seen, and nothing is made of them.
            ("rule.disabled", !self.watches_forks() && self.hooks.fork && new.watches_forks()),
            ("host.id", *id != new.host.id),
            ("host.name", *name != new.host.name),
            ("kernel.btf", *btf != new.kernel.btf),
            ("rings.connections", *connections != new.rings.connections),
            ("rings.executions", *executions != new.rings.executions),
            ("output.stdout", *stdout != new.output.stdout),
            ("output.file", *file != new.output.file),
            ("output.journal", *journal != new.output.journal),
            ("output.elasticsearch", *elasticsearch != new.output.elasticsearch),
            ("output.syslog", *syslog != new.output.syslog),
            ("output.spool", *spool != new.output.spool),
            ("metrics.listen", *listen != new.metrics.listen),
        ];
        keys.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}
