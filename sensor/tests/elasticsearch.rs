//! The output to Elasticsearch against a server that is strict and fails in each way that it is told to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

use sensor::output::elasticsearch::{Elasticsearch, Login, Timeouts};
use sensor::output::queue::{Queue, Stats};
use sensor::output::remote::{Failure, Remote, Transport, Verdict};
use sensor::output::secret::SecretFile;
use sensor::output::spool::{Limits, Spool};
use sensor_receiver::tls::Tls;
use sensor_receiver::{Reply, Server};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const STREAM: &str = "logs-sensor.alerts-default";

fn alert(number: u64) -> Value {
    json!({"@timestamp": "2026-05-28T20:26:42.013000001Z", "event": {"id": format!("id-{number}")}, "message": "ü\n\"x\""})
}

fn timeouts() -> Timeouts {
    Timeouts { connect: Duration::from_secs(20), all: Duration::from_secs(20) }
}

fn client(server: &Server) -> Elasticsearch {
    Elasticsearch::new(&format!("http://{}", server.address()), STREAM, None, None, timeouts()).unwrap()
}

fn send(client: &mut Elasticsearch, numbers: &[u64]) -> Result<Vec<Verdict>, Failure> {
    let documents: Vec<String> = numbers.iter().map(|number| alert(*number).to_string()).collect();
    client.send(&documents.iter().map(String::as_str).collect::<Vec<_>>())
}

fn reason(result: Result<Vec<Verdict>, Failure>) -> String {
    match result {
        Err(Failure::Later { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// A queue behind a spool in this directory.
fn queue(directory: &Path, client: Elasticsearch) -> Queue {
    let spool = Spool::open(directory, Limits::of(1 << 20)).unwrap();
    Queue::start("elasticsearch", Remote::start("elasticsearch", spool, client).unwrap()).unwrap()
}

fn until(what: &str, ask: impl Fn() -> bool) {
    let start = Instant::now();
    while !ask() {
        assert!(start.elapsed() < Duration::from_secs(100), "{what}");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn documents_are_created_once_under_their_ids() {
    let server = Server::start().unwrap();
    let mut client = client(&server);
    assert_eq!(send(&mut client, &[1, 2]).unwrap(), [Verdict::Delivered, Verdict::Delivered]);
    assert_eq!(send(&mut client, &[2, 3]).unwrap(), [Verdict::Delivered, Verdict::Delivered]);
    let documents = server.documents();
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["id-1", "id-2", "id-3"]);
    assert_eq!((documents["id-1"].clone(), server.conflicts()), (alert(1), 1));
    let request = &server.requests()[0];
    assert!(request.target.starts_with("/logs-sensor.alerts-default/_bulk?"), "{}", request.target);
    assert_eq!(request.header("authorization"), None);
    assert_eq!(server.faults(), [""; 0]);
}

#[test]
fn the_login_is_sent_and_read_again_when_it_is_refused() {
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "old\n").unwrap();
    let server = Server::start().unwrap();
    server.require("ApiKey bmV3OmtleQ==");
    let login = Login::ApiKey(SecretFile::new(&key));
    let url = format!("http://{}/", server.address());
    let mut client = Elasticsearch::new(&url, STREAM, Some(login), None, timeouts()).unwrap();
    let refused = reason(send(&mut client, &[1]));
    assert_eq!(refused, "the server answers 401 Unauthorized: security_exception: missing authentication");
    assert!(!format!("{client:?}").contains("old"));
    fs::write(&key, "new:key").unwrap();
    reason(send(&mut client, &[1]));
    assert_eq!(send(&mut client, &[1]).unwrap(), [Verdict::Delivered]);
    assert_eq!(server.faults(), [""; 0]);
}

#[test]
fn each_way_to_fail_is_told_apart() {
    let server = Server::start().unwrap();
    let mut client = client(&server);
    let status = |status, headers: &[(&'static str, &str)], body| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Reply::Status(status, headers, body)
    };
    let own = r#"{"error":{"type":"parse_exception","reason":"r"},"status":400}"#;
    server.reply([
        status(429, &[("Retry-After", "7")], ""),
        status(503, &[], "<html>"),
        status(400, &[], own),
        status(400, &[], "<html>the plain HTTP request was sent to HTTPS port"),
        status(413, &[], ""),
        status(307, &[("Location", "http://127.0.0.1:1/")], ""),
        status(200, &[], "{}"),
        Reply::Close,
        Reply::CreateAndBreak,
        Reply::CreateHalf(400, "document_parsing_exception"),
        Reply::CreateHalf(429, "es_rejected_execution_exception"),
    ]);
    match send(&mut client, &[1]).unwrap_err() {
        Failure::Later { reason, after } => {
            assert_eq!(
                (reason.as_str(), after),
                ("the server answers 429 Too Many Requests", Some(Duration::from_secs(7)))
            );
        }
        other @ Failure::Smaller(_) => panic!("{other:?}"),
    }
    assert!(reason(send(&mut client, &[1])).contains("503"));
    let smaller = Failure::Smaller("the server answers 400 Bad Request: parse_exception: r".to_owned());
    assert_eq!(send(&mut client, &[1]), Err(smaller));
    assert!(reason(send(&mut client, &[1])).contains("400"));
    assert!(matches!(send(&mut client, &[1]), Err(Failure::Smaller(_))));
    assert!(reason(send(&mut client, &[1])).contains("307"));
    assert!(reason(send(&mut client, &[1])).contains("not that of a bulk interface"));
    reason(send(&mut client, &[1]));
    assert_eq!(server.documents().len(), 0);
    reason(send(&mut client, &[1]));
    let verdicts = send(&mut client, &[1, 2, 3]).unwrap();
    assert!(matches!(&verdicts[..], [Verdict::Delivered, Verdict::Rejected(_), Verdict::Delivered]), "{verdicts:?}");
    let verdicts = send(&mut client, &[4, 5]).unwrap();
    assert!(matches!(&verdicts[..], [Verdict::Delivered, Verdict::Later(_)]), "{verdicts:?}");
    assert_eq!(server.faults(), [""; 0]);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = Server::start().unwrap();
    let short = Timeouts { all: Duration::from_millis(300), ..timeouts() };
    let url = format!("http://{}", server.address());
    let mut client = Elasticsearch::new(&url, STREAM, None, None, short).unwrap();
    server.reply([Reply::CreateAndHang]);
    assert!(reason(send(&mut client, &[1])).contains("timeout"));
}

#[test]
fn alerts_wait_for_a_dead_server_and_arrive_once() {
    let folder = TempDir::new().unwrap();
    let dead = Server::start().unwrap();
    let address = dead.address();
    let client = client(&dead);
    drop(dead);
    let mut queue = queue(folder.path(), client);
    (0..5).for_each(|number| queue.send(Arc::new(alert(number).into())));
    until("spooled", || queue.stats().spooled == 5);
    let server = Server::listen(address.port(), Box::new(|stream| Ok(Box::new(stream)))).unwrap();
    server.reply([Reply::CreateAndBreak, Reply::CreateHalf(503, "unavailable_shards_exception")]);
    until("delivered", || queue.stats().delivered == 5);
    assert_eq!(queue.close(), Stats { queued: 5, delivered: 5, ..Stats::default() });
    assert_eq!((server.documents().len(), server.faults()), (5, Vec::new()));
    // Those whose confirmation broke off were there already.
    assert!(server.conflicts() > 0);
}

fn ca_file(folder: &TempDir, pem: &str) -> PathBuf {
    let path = folder.path().join("ca.pem");
    fs::write(&path, pem).unwrap();
    path
}

#[test]
fn only_the_right_certificate_is_trusted() {
    let folder = TempDir::new().unwrap();
    let attempt = |tls: Tls, authority: &str| {
        let server = Server::listen(0, tls.wrap).unwrap();
        let url = format!("https://{}", server.address());
        let ca_file = ca_file(&folder, authority);
        let mut client = Elasticsearch::new(&url, STREAM, None, Some(&ca_file), timeouts()).unwrap();
        let result = send(&mut client, &[1]);
        assert_eq!(server.documents().len(), usize::from(result.is_ok()));
        result
    };
    let good = Tls::new("127.0.0.1").unwrap();
    let authority = good.authority.clone();
    assert_eq!(attempt(good, &authority).unwrap(), [Verdict::Delivered]);
    let other = Tls::new("127.0.0.1").unwrap();
    assert!(reason(attempt(other, &authority)).contains("invalid peer certificate"));
    let named = Tls::new("elastic.example.org").unwrap();
    let authority = named.authority.clone();
    assert!(reason(attempt(named, &authority)).contains("not valid for name"));
}
