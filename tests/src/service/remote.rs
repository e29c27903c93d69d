//! Outputs whose far end is elsewhere, and the numbers that others ask for, within what the unit and the sensor itself allow.

use super::Check;
use super::names::Names;
use super::sandbox::at_most;
use super::unit::{CONFIG, Unit, run, until};
use anyhow::{Context, Result, ensure};
use sensor_receiver::Server;
use sensor_receiver::tls::Tls;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;

pub(super) const TABLE: &[Check] = &[
    ("with the drop-in for remote outputs: at most 2.6, and alerts reach servers by their names", servers),
    ("without it there is no network, and alerts wait in the spool", no_network),
    ("alerts reach the system's own syslog", syslog),
    ("its numbers can be asked for at a socket", metrics),
];

const ELASTIC: &str = "elastic.example.test";
const LOGS: &str = "logs.example.test";
const RESOLVER: &str = "/etc/resolv.conf";
/// Where a service for names would write, once it has started.
const LATER: &str = "/run/names/resolv.conf";
/// Outside of what the sensor can read anyway.
const KEY: &str = "/srv/sensor.key";

fn drop_in() -> Result<String> {
    Ok(fs::read_to_string("/usr/share/sensor/remote-outputs.conf")?)
}

/// One server wants TLS and a key that changes, the other one neither. How names are looked up is not known when the sensor starts.
fn servers(unit: &mut Unit) -> Result<String> {
    let tls = Tls::new(ELASTIC)?;
    let elastic = Server::listen(0, tls.wrap)?;
    let logs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let authorities = Path::new(CONFIG).with_file_name("authorities.pem");
    fs::write(&authorities, tls.authority)?;
    fs::create_dir_all("/srv")?;
    fs::write(KEY, "id:old\n")?;
    // What base64 makes of `id:new`.
    elastic.require("ApiKey aWQ6bmV3");
    unit.add(&drop_in()?)?;
    unit.configure(&format!(
        "[output.elasticsearch]\nurl = \"https://{ELASTIC}:{}\"\napi_key_file = \"{KEY}\"\nca_file = \"{}\"\n\
         [output.syslog]\nto = \"tcp://{LOGS}:{}\"\n",
        elastic.address().port(),
        authorities.display(),
        logs.local_addr()?.port()
    ))?;
    let before = fs::read_to_string(RESOLVER).unwrap_or_default();
    let _ = fs::remove_file(RESOLVER);
    symlink(LATER, RESOLVER)?;
    let result = (|| {
        unit.restart()?;
        let names = Names::serve()?;
        fs::create_dir_all(Path::new(LATER).parent().context("no directory")?)?;
        fs::write(LATER, "nameserver 127.0.0.1\n")?;
        let marker = unit.reverse_shell()?;
        until("an attempt with the old key", || Ok((!elastic.requests().is_empty()).then_some(())))?;
        fs::write(KEY, "id:new\n")?;
        let marked = json!(marker);
        until("the alert at the server", || {
            let documents = elastic.documents();
            Ok(documents.values().any(|alert| alert.pointer("/process/args/2") == Some(&marked)).then_some(()))
        })?;
        let (mut stream, _) = logs.accept()?;
        until_read(&mut stream, &marker)?;
        drop(names);
        ensure!(elastic.faults().is_empty(), "{:?}", elastic.faults());
        let left = format!("; TCP to the ports {}", ports(&[elastic.address().port(), logs.local_addr()?.port(), 53]));
        let journal = unit.journal();
        ensure!(journal.contains(&left) || journal.contains("; TCP to all ports"), "no {left:?}");
        at_most(2.6)
    })();
    fs::remove_file(RESOLVER)?;
    fs::write(RESOLVER, before)?;
    for file in [Path::new(KEY), &authorities] {
        fs::remove_file(file)?;
    }
    result
}

fn ports(ports: &[u16]) -> String {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// Reads until a word has come.
fn until_read(stream: &mut TcpStream, word: &str) -> Result<()> {
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(word) {
        let len = stream.read(&mut bytes)?;
        ensure!(len > 0, "the stream ends without {word}: {}", String::from_utf8_lossy(&text));
        text.extend(bytes.iter().take(len));
    }
    Ok(())
}

fn no_network(unit: &mut Unit) -> Result<String> {
    unit.configure("[output.syslog]\nto = \"tcp://127.0.0.1:9\"\n")?;
    unit.restart()?;
    let marker = unit.reverse_shell()?;
    unit.alerted(&marker)?;
    let spool = Path::new("/var/lib/sensor/spool/syslog");
    let spooled = || -> Result<bool> {
        for entry in fs::read_dir(spool)? {
            if fs::read_to_string(entry?.path()).unwrap_or_default().contains(&marker) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    until("the alert in the spool", || Ok(spooled()?.then_some(())))?;
    until("the reason in the journal", || Ok(unit.journal().contains("remote-outputs.conf").then_some(())))?;
    run(&["systemctl", "stop", "sensor"])?;
    fs::remove_dir_all(spool)?;
    Ok(String::new())
}

/// Which is the journal here, that takes what comes by syslog's socket too.
fn syslog(unit: &mut Unit) -> Result<String> {
    unit.configure("[output.syslog]\nto = \"unix:/dev/log\"\n")?;
    unit.restart()?;
    let marker = unit.reverse_shell()?;
    until("the alert from syslog's socket", || {
        let journal = run(&["journalctl", "_TRANSPORT=syslog", "--all", "--output=cat"])?;
        Ok(journal.contains(&marker).then_some(()))
    })?;
    Ok(String::new())
}

fn metrics(unit: &mut Unit) -> Result<String> {
    const SOCKET: &str = "/run/sensor/metrics";
    unit.configure(&format!("[metrics]\nlisten = \"{SOCKET}\"\n"))?;
    unit.restart()?;
    unit.alerts()?;
    for (path, expected) in [("/health", "well\n"), ("/metrics", "\nsensor_alerts_total ")] {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.0 200") && answer.contains(expected), "{path}: {answer}");
    }
    run(&["sensor", "alive", "/run/sensor/alive"])?;
    run(&["systemctl", "stop", "sensor"])?;
    ensure!(!Path::new(SOCKET).exists(), "the socket is left behind");
    Ok(String::new())
}
