//! What a run needs once it is attached, by its options and its configuration: all else is given up.

use super::Options;
use super::outputs::{spool_directory, to_journal};
use crate::config::{Config, DEFAULT_PATH, Elasticsearch, Listen, Output, Place};
use crate::output::syslog;
use crate::privileges::Needs;
use crate::terminal;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use std::path::Path;

/// What the sensor does beside reading /proc while it runs.
pub(super) fn needs(options: &Options, config: &Config, config_path: Option<&Path>) -> Needs {
    let listen = config.metrics.listen.as_ref();
    let Output { stdout: _, file, journal: _, elasticsearch, syslog, spool } = &config.output;
    let (unix, syslog_port) = match syslog.as_ref().map(|syslog| &syslog.to) {
        Some(syslog::Place::Unix(_)) => (true, None),
        Some(syslog::Place::Tcp(_, port) | syslog::Place::Tls(_, port)) => (false, Some(*port)),
        None => (false, None),
    };
    // They are read again when the server does not take them any more.
    let secrets = elasticsearch.iter().flat_map(|it| it.api_key_file.iter().chain(&it.password_file).cloned());
    let config_file = config_path.unwrap_or(Path::new(DEFAULT_PATH)).to_owned();
    let spools = [elasticsearch.as_ref().map(|_| Place::Elasticsearch), syslog.as_ref().map(|_| Place::Syslog)];
    Needs {
        reads: [config_file].into_iter().chain(secrets).collect(),
        appends: options.events.iter().chain(file).cloned().collect(),
        looks: config.evidence.runtimes.clone(),
        removes: listen.and_then(Listen::socket).map(Path::to_owned).into_iter().collect(),
        spools: spools.into_iter().flatten().map(|place| spool_directory(spool, place.name())).collect(),
        journal: to_journal(options, &config.output),
        unix,
        tcp: elasticsearch.iter().map(Elasticsearch::port).chain(syslog_port).collect(),
        serves: listen.is_some(),
        terminal: terminal::is_stdout() || terminal::is_stderr(),
    }
}

/// Whether internet sockets cannot be made at all, as under `RestrictAddressFamilies=` of systemd.exec(5).
pub(super) fn no_internet() -> bool {
    let refused = |family| socket(family, SocketType::STREAM, None).err() == Some(Errno::AFNOSUPPORT);
    refused(AddressFamily::INET) && refused(AddressFamily::INET6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn of(config: &str) -> Needs {
        let options = Options { events: None, heartbeat: None, host_name: None, format: None };
        needs(&options, &toml::from_str(config).unwrap(), Some(Path::new("/opt/sensor.toml")))
    }

    #[test]
    fn without_remote_outputs_there_are_no_sockets() {
        let needs = of("");
        assert_eq!(needs.reads, [PathBuf::from("/opt/sensor.toml")]);
        assert!(!needs.unix && needs.tcp.is_empty() && needs.spools.is_empty() && !needs.serves);
        assert!(needs.appends.is_empty() && needs.removes.is_empty());
        assert_eq!(needs.looks.len(), 4);
        assert!(of("evidence.runtimes = []").looks.is_empty());
    }

    #[test]
    fn each_output_has_what_it_needs() {
        let needs = of("[output.elasticsearch]\nurl = \"https://[2001:db8::1]\"\napi_key_file = \"/srv/key\"\n");
        assert_eq!(needs.tcp, [443]);
        assert_eq!(needs.reads, ["/opt/sensor.toml", "/srv/key"].map(PathBuf::from));
        assert_eq!(needs.spools, [PathBuf::from("/var/lib/sensor/spool/elasticsearch")]);
        let needs =
            of("[output.elasticsearch]\nurl = \"https://h:9200/path\"\n[output.syslog]\nto = \"tls://h:6514\"\n");
        assert_eq!((needs.tcp, needs.spools.len(), needs.unix), (vec![9200, 6514], 2, false));
        assert_eq!(of("[output.elasticsearch]\nurl = \"http://localhost\"\n").tcp, [80]);
        let needs = of("[output.syslog]\nto = \"unix:/dev/log\"\n[metrics]\nlisten = \"/run/sensor/metrics\"\n");
        assert!(needs.unix && needs.tcp.is_empty() && needs.serves);
        assert_eq!(needs.removes, [PathBuf::from("/run/sensor/metrics")]);
        assert_eq!(of("[output]\nfile = \"/var/log/a\"\n").appends, [PathBuf::from("/var/log/a")]);
    }
}
