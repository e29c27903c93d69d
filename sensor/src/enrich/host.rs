//! The host: its identity, its names, its system, read once at the start.

use rustix::system::uname;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Most bytes read of any of the files.
const MAX_BYTES: u64 = 64 << 10;
/// Most characters kept of any value.
const MAX_VALUE: usize = 255;
/// Where the kernel tells the id of this boot.
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

/// What is known of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `host.id`: never empty.
    pub id: String,
    /// Where `id` comes from: `config`, or the file or name that it was taken from.
    pub id_source: &'static str,
    /// `host.name`: the host name unless the configuration says otherwise.
    pub name: String,
    /// `host.hostname`: as given at the start, else as uname(2) gives it.
    pub hostname: String,
    /// Changes with every boot (`host.boot.id`).
    pub boot_id: String,
    /// The system.
    pub os: Os,
    /// `host.architecture`: as uname(2) gives it.
    pub architecture: String,
}

/// What the start was told of the host, which counts more than what the host says itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// `host.id`.
    pub id: Option<&'a str>,
    /// `host.name`.
    pub name: Option<&'a str>,
    /// The host name; in a container uname(2) says another one.
    pub hostname: Option<&'a str>,
}

/// The system, from os-release(5) and uname(2). What os-release does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Os {
    /// `NAME`, such as `Debian GNU/Linux`.
    pub name: Option<String>,
    /// `VERSION_ID`, such as `12`.
    pub version: Option<String>,
    /// `PRETTY_NAME`, such as `Debian GNU/Linux 12 (bookworm)`.
    pub full: Option<String>,
    /// `ID`, such as `ubuntu`.
    pub platform: Option<String>,
    /// The first of `ID_LIKE`, such as `debian`; `ID` if there is none.
    pub family: Option<String>,
    /// Release of the kernel.
    pub kernel: String,
}

/// The id of this boot cannot be read, without which processes have no identity.
#[derive(Debug, thiserror::Error)]
#[error("cannot read /{BOOT_ID}: {0}; the sensor needs a whole /proc (in a unit: no ProcSubset=pid)")]
pub struct NoBootId(io::Error);

/// What the kernel calls this boot, by the files below `root` (usually `/`).
///
/// # Errors
/// /proc is absent or reduced.
pub fn boot_id(root: &Path) -> Result<String, NoBootId> {
    let text = text(&root.join(BOOT_ID)).map_err(NoBootId)?;
    value(&text).ok_or_else(|| NoBootId(io::ErrorKind::InvalidData.into()))
}

impl Host {
    /// Reads what the files below `root` (usually `/`) say, which in a container must be the host's; what is given counts more.
    ///
    /// Without a given id it is the machine id as systemd or D-Bus keep it, else the firmware's UUID, else
    /// the host name, else the boot id: `id_source` says which.
    ///
    /// # Errors
    /// /proc is absent or reduced.
    pub fn read(root: &Path, given: Given<'_>) -> Result<Self, NoBootId> {
        let Given { id, name, hostname } = given;
        let boot_id = boot_id(root)?;
        let system = uname();
        let nodename = || value(&system.nodename().to_string_lossy());
        let hostname = hostname.and_then(value).or_else(nodename);
        let (id, id_source) = identity(root, id, hostname.as_deref(), &boot_id);
        let hostname = hostname.unwrap_or_else(|| "localhost".to_owned());
        Ok(Self {
            id,
            id_source,
            name: name.map_or_else(|| hostname.clone(), str::to_owned),
            hostname,
            boot_id,
            os: Os { kernel: system.release().to_string_lossy().into_owned(), ..os_release(root) },
            architecture: system.machine().to_string_lossy().into_owned(),
        })
    }

    /// The object `host` of an ECS document.
    #[must_use]
    pub fn to_ecs(&self) -> Value {
        let Self { id, id_source: _, name, hostname, boot_id, os, architecture } = self;
        let Os { name: os_name, version, full, platform, family, kernel } = os;
        let mut system = Map::new();
        system.insert("type".to_owned(), json!("linux"));
        let release =
            [("name", os_name), ("version", version), ("full", full), ("platform", platform), ("family", family)];
        for (key, value) in release {
            if let Some(value) = value {
                system.insert(key.to_owned(), json!(value));
            }
        }
        system.insert("kernel".to_owned(), json!(kernel));
        json!({
            "id": id,
            "name": name,
            "hostname": hostname,
            "architecture": architecture,
            "boot": { "id": boot_id },
            "os": system,
        })
    }
}

fn identity(root: &Path, id: Option<&str>, hostname: Option<&str>, boot_id: &str) -> (String, &'static str) {
    let file = |path: &str| text(&root.join(path)).ok().and_then(|text| value(&text));
    // systemd writes "uninitialized" into the machine id of an image that has not booted yet.
    let machine = |path| file(path).filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    // Firmware that has no UUID says only zeros or only ones.
    let told = |uuid: &String| {
        uuid.bytes().any(|byte| !b"0-".contains(&byte)) && uuid.bytes().any(|byte| !b"fF-".contains(&byte))
    };
    None.or_else(|| Some((id?.to_owned(), "config")))
        .or_else(|| Some((machine("etc/machine-id")?, "/etc/machine-id")))
        .or_else(|| Some((machine("var/lib/dbus/machine-id")?, "/var/lib/dbus/machine-id")))
        .or_else(|| Some((file("sys/class/dmi/id/product_uuid").filter(told)?.to_lowercase(), "product_uuid")))
        .or_else(|| Some((hostname?.to_owned(), "hostname")))
        .unwrap_or_else(|| (boot_id.to_owned(), "boot_id"))
}

/// What os-release(5) says; absent files say nothing.
fn os_release(root: &Path) -> Os {
    let file = text(&root.join("etc/os-release")).or_else(|_| text(&root.join("usr/lib/os-release")));
    let file = file.unwrap_or_default();
    let get = |key: &str| {
        // The last assignment counts, as in a shell.
        let line = file.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        value(&unquoted(line))
    };
    let platform = get("ID");
    let like = get("ID_LIKE").and_then(|like| like.split_whitespace().next().map(str::to_owned));
    Os {
        name: get("NAME"),
        version: get("VERSION_ID"),
        full: get("PRETTY_NAME"),
        family: like.or_else(|| platform.clone()),
        platform,
        kernel: String::new(),
    }
}

/// The value of a shell assignment: quotes taken away, and backslashes where they escape.
fn unquoted(text: &str) -> String {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''));
    let inner = quote.and_then(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text);
    let mut plain = String::new();
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' if quote != Some('\'') => plain.extend(rest.next()),
            _ => plain.push(character),
        }
    }
    plain
}

/// Text as a value of a document: trimmed, without control characters, not longer than [`MAX_VALUE`]; `None` if empty.
fn value(text: &str) -> Option<String> {
    let value: String = text.trim().chars().filter(|character| !character.is_control()).take(MAX_VALUE).collect();
    (!value.is_empty()).then_some(value)
}

fn text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const MACHINE: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const UUID: &str = "4C4C4544-0042-3510-8052-B4C04F564432";

    fn root(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [(BOOT_ID, "1d0a8f6e-3c5b-4d57-9b8f-6f1c2f1f7a10\n")].iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn read(files: &[(&str, &str)], id: Option<&str>) -> Host {
        Host::read(root(files).path(), Given { id, ..Given::default() }).unwrap()
    }

    #[test]
    fn the_best_source_of_an_id_is_taken() {
        let machine = ("etc/machine-id", &*format!("{MACHINE}\n"));
        let dbus = ("var/lib/dbus/machine-id", &*format!("{}\n", MACHINE.replace('0', "a")));
        let firmware = ("sys/class/dmi/id/product_uuid", &*format!("{UUID}\n"));
        let hostname = uname().nodename().to_string_lossy().into_owned();
        for (files, given, id, source) in [
            (vec![machine, dbus, firmware], Some("web-1"), "web-1", "config"),
            (vec![machine, dbus, firmware], None, MACHINE, "/etc/machine-id"),
            (
                vec![("etc/machine-id", "uninitialized\n"), dbus],
                None,
                &*MACHINE.replace('0', "a"),
                "/var/lib/dbus/machine-id",
            ),
            (vec![("etc/machine-id", ""), firmware], None, &*UUID.to_lowercase(), "product_uuid"),
            (
                vec![("sys/class/dmi/id/product_uuid", "00000000-0000-0000-0000-000000000000")],
                None,
                &*hostname,
                "hostname",
            ),
            (
                vec![("sys/class/dmi/id/product_uuid", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF")],
                None,
                &*hostname,
                "hostname",
            ),
            (vec![], None, &*hostname, "hostname"),
        ] {
            let host = read(&files, given);
            assert_eq!((&*host.id, host.id_source), (id, source), "{files:?}");
        }
        let root = root(&[]);
        assert_eq!(identity(root.path(), None, None, "boot").0, "boot");
    }

    #[test]
    fn the_system_is_described_as_far_as_it_describes_itself() {
        let ubuntu = "# comment\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nNAME='Ubuntu'\nVERSION_ID=\"1\"\nVERSION_ID=\"24.04\"\n\
            ID=ubuntu\nID_LIKE=\"debian other\"\nBROKEN\n";
        let os = read(&[("etc/os-release", ubuntu)], None).os;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(os.full, some("Ubuntu 24.04.1 LTS"));
        assert_eq!((os.name, os.version), (some("Ubuntu"), some("24.04")));
        assert_eq!((os.platform, os.family), (some("ubuntu"), some("debian")));
        let arch =
            read(&[("usr/lib/os-release", "NAME=\"A \\\"quoted\\\" \u{1b}[31mname\"\nID=arch\nVERSION_ID=")], None).os;
        assert_eq!(arch.name, some("A \"quoted\" [31mname"));
        assert_eq!((arch.version, arch.platform, arch.family), (None, some("arch"), some("arch")));
        let none = read(&[], None).os;
        assert_eq!((none.name, none.platform), (None, None));
        assert_eq!(none.kernel, uname().release().to_string_lossy());
    }

    #[test]
    fn the_document_holds_what_is_known() {
        let files = [("etc/machine-id", MACHINE), ("etc/os-release", "ID=debian\nNAME=Debian\nVERSION_ID=12\n")];
        let root = root(&files);
        let host = Host::read(root.path(), Given { name: Some("shown"), ..Given::default() }).unwrap();
        let system = uname();
        let (node, machine) = (system.nodename().to_str().unwrap(), system.machine().to_str().unwrap());
        assert_eq!(
            host.to_ecs(),
            json!({
                "id": MACHINE, "name": "shown", "hostname": node, "architecture": machine,
                "boot": { "id": "1d0a8f6e-3c5b-4d57-9b8f-6f1c2f1f7a10" },
                "os": {
                    "type": "linux", "name": "Debian", "version": "12", "platform": "debian", "family": "debian",
                    "kernel": system.release().to_str().unwrap(),
                },
            })
        );
        assert_eq!(read(&files, None).name, node);
    }

    #[test]
    fn in_a_container_the_given_name_is_the_hosts() {
        let files = root(&[]);
        let host = Host::read(files.path(), Given { hostname: Some(" node-1\n"), ..Given::default() }).unwrap();
        assert_eq!(
            (&*host.hostname, &*host.name, &*host.id, host.id_source),
            ("node-1", "node-1", "node-1", "hostname")
        );
        let host = Host::read(files.path(), Given { hostname: Some("node-1"), name: Some("shown"), id: None }).unwrap();
        assert_eq!((&*host.hostname, &*host.name), ("node-1", "shown"));
        let host = Host::read(files.path(), Given { hostname: Some(""), ..Given::default() }).unwrap();
        assert_eq!(host.hostname, uname().nodename().to_str().unwrap());
    }

    #[test]
    fn without_a_boot_id_there_is_no_start() {
        let error = Host::read(tempfile::tempdir().unwrap().path(), Given::default()).unwrap_err().to_string();
        assert!(error.contains("/proc/sys/kernel/random/boot_id") && error.contains("ProcSubset"), "{error}");
        assert!(Host::read(root(&[(BOOT_ID, " \n")]).path(), Given::default()).is_err());
    }

    #[test]
    fn this_host_is_readable() {
        let host = Host::read(Path::new("/"), Given::default()).unwrap();
        assert!(!host.id.is_empty() && !host.name.is_empty());
        assert_eq!(host.boot_id.len(), 36);
    }
}
