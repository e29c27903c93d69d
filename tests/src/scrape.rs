//! A sensor's numbers, over HTTP from its socket.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The status and the body.
pub(crate) fn get(socket: &Path, path: &str) -> Result<(String, String)> {
    let mut stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: sensor\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.lines().next().unwrap_or_default();
    Ok((status.to_owned(), body.to_owned()))
}

/// Samples with their labels, each of which is there once, and a text that ends as it must.
pub(crate) fn scrape(socket: &Path) -> Result<BTreeMap<String, f64>> {
    let (status, body) = get(socket, "/metrics")?;
    ensure!(status == "HTTP/1.1 200 OK", "{status}");
    ensure!(body.ends_with("# EOF\n"), "no end: {body}");
    let mut samples = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        ensure!(samples.insert(name.to_owned(), value.parse()?).is_none(), "{name} is there twice");
    }
    Ok(samples)
}
