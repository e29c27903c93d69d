//! How reverse shells are made in practice, and which rules see each: with the programs that people use, installed.
//!
//! Each row of the [`table`] is run, must give a shell that answers, and must be found by just the rules that it names. The same
//! table is in `docs/detection.md`, which `sensor-tests --techniques` prints, and which a test compares.

mod table;

use crate::expect::{DESCENDANT_RULE, RELAY_RULE, RULE, SOCKET_RULE, field};
use crate::lab::{Lab, which};
use crate::player::Guard;
use crate::wait::{PATIENCE, until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
pub(crate) use table::TECHNIQUES;

/// The rules, in the order of the columns.
const RULES: [&str; 4] = [RULE, DESCENDANT_RULE, SOCKET_RULE, RELAY_RULE];
/// What is told to the shell, and what it must answer: a terminal that repeats its input does not.
const QUESTION: &[u8] = b"echo mar''ker\n";
const ANSWER: &str = "marker";
/// Where a technique that accepts does so.
const PORT: u16 = 4444;

/// A way to a shell at the other end of a connection.
pub(crate) struct Technique {
    /// For people.
    pub(crate) name: &'static str,
    way: Way,
    found: Found,
    /// Why these rules find it, or none does.
    why: &'static str,
}

/// Who connects, and what is run: a program and its arguments, with A and P for the address and the port.
#[derive(Clone, Copy)]
enum Way {
    /// It connects to the far end.
    Connects(&'static [&'static str]),
    /// It accepts what comes from the far end.
    Accepts(&'static [&'static str]),
    /// It connects to the far end, where a server speaks TLS.
    ConnectsByTls(&'static [&'static str]),
}

/// Which rules find it.
type Found = &'static [&'static str];

impl Technique {
    /// The rules that find it.
    pub(crate) const fn rules(&self) -> &'static [&'static str] {
        self.found
    }

    /// Does it in a lab, and compares what is reported.
    pub(crate) fn check(&self, lab: &Lab) -> Result<()> {
        let (Way::Connects(words) | Way::Accepts(words) | Way::ConnectsByTls(words)) = self.way;
        let [program, args @ ..] = words else { bail!("no program") };
        which(program)?;
        let run = |at: SocketAddr| {
            let args: Vec<String> = args.iter().map(|word| fill(word, at)).collect();
            lab.run(program, &args.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let _held = match self.way {
            Way::Connects(_) => {
                let far = lab.listen(lab.remote())?;
                let process = run(far.address)?;
                let (stream, _) = far.accept().with_context(|| lab.output())?;
                answers(&stream).with_context(|| lab.output())?;
                (process, Some(stream), None)
            }
            Way::Accepts(_) => {
                let at = SocketAddr::new(lab.local(), PORT);
                let process = run(at)?;
                let stream = lab.connect(lab.remote(), at)?;
                answers(&stream).with_context(|| lab.output())?;
                (process, Some(stream), None)
            }
            Way::ConnectsByTls(_) => {
                let at = SocketAddr::new(lab.remote(), PORT);
                let server = tls_server(lab, at)?;
                let process = run(at)?;
                until("an answer of the shell", || Ok(lab.output().contains(ANSWER).then_some(())))?;
                (process, None, Some(server))
            }
        };
        let alerts = lab.reported()?;
        let rules = |alert: &Value| -> Vec<String> {
            let rules = field(alert, "sensor.matched_rules").and_then(Value::as_array).cloned().unwrap_or_default();
            rules.iter().filter_map(|rule| rule.as_str().map(str::to_owned)).collect()
        };
        ensure!(!alerts.is_empty() || self.found.is_empty(), "no alert, expected {:?}", self.found);
        for alert in &alerts {
            ensure!(rules(alert) == self.found, "expected {:?}: {alert:.6000}", self.found);
        }
        Ok(())
    }
}

/// A word with the address and the port where A and P stand alone.
fn fill(word: &str, at: SocketAddr) -> String {
    let (address, port) = (at.ip().to_string(), at.port().to_string());
    let stands_alone = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
    let mut filled = String::new();
    let mut before = None;
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        let alone = stands_alone(before) && stands_alone(rest.peek().copied());
        match c {
            'A' if alone => filled.push_str(&address),
            'P' if alone => filled.push_str(&port),
            _ => filled.push(c),
        }
        before = Some(c);
    }
    filled
}

/// Asks until the shell at the other end answers: it may not read yet, or throw away what came before it did.
fn answers(mut stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let (start, mut heard) = (Instant::now(), String::new());
    while !heard.contains(ANSWER) {
        ensure!(start.elapsed() < PATIENCE, "no shell answers: {heard:.2000}");
        stream.write_all(QUESTION)?;
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the connection is closed: {heard:.2000}"),
            Ok(len) => heard.push_str(&String::from_utf8_lossy(buffer.get(..len).unwrap_or_default())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("the connection"),
        }
    }
    Ok(())
}

/// A server that speaks TLS, asks the same again and again, and writes the answers to the lab's output.
fn tls_server(lab: &Lab, at: SocketAddr) -> Result<Guard> {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -subj /CN=x && \
                  while echo \"echo mar''ker\" && sleep 0.3; do :; done | openssl s_server -accept $0 -key k -cert c";
    let server = lab.run("bash", &["-c", script, &at.to_string()])?;
    until("the server to listen", || Ok(lab.output().contains("ACCEPT").then_some(())))?;
    Ok(server)
}

/// The table for people.
pub(crate) fn document() -> String {
    let mut text =
        format!("| technique | `{}` | why |\n|---|{}---|\n", RULES.join("` | `"), ":-:|".repeat(RULES.len()));
    for Technique { name, found, why, .. } in TECHNIQUES {
        let cells = RULES.map(|rule| if found.contains(&rule) { "found" } else { "–" });
        // Writing to a string never fails.
        let _ = writeln!(text, "| {name} | {} | {why} |", cells.join(" | "));
    }
    let count = |rule| TECHNIQUES.iter().filter(|technique| technique.found.contains(&rule)).count();
    let counts = RULES.map(|rule| format!("**{} of {}**", count(rule), TECHNIQUES.len()));
    let _ = writeln!(text, "| | {} | |", counts.join(" | "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_where_they_stand_alone() {
        let at = "198.51.100.7:4444".parse().unwrap();
        assert_eq!(fill("TCP:A:P", at), "TCP:198.51.100.7:4444");
        assert_eq!(
            fill("('A',P) PF_INET IPPROTO TAP /A/P", at),
            "('198.51.100.7',4444) PF_INET IPPROTO TAP /198.51.100.7/4444"
        );
    }

    #[test]
    fn the_document_has_the_table() {
        let document = include_str!("../../docs/detection.md");
        assert!(document.contains(&super::document()), "paste it from `sensor-tests --techniques`");
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = TECHNIQUES.iter().map(|technique| technique.name).collect();
        assert_eq!(names.len(), TECHNIQUES.len());
    }
}
