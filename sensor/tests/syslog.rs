//! The output to syslog against servers that read it strictly.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]

use sensor::output::remote::{Failure, Transport, Verdict};
use sensor::output::syslog::{Place, Syslog};
use sensor_receiver::tls::Tls;
use serde_json::{Value, json};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::thread::{JoinHandle, spawn};

fn alert(number: u64) -> String {
    json!({"@timestamp": "2026-05-28T20:26:42Z", "event": {"id": number}, "message": "ü\n<13>1 forged"}).to_string()
}

fn send(syslog: &mut Syslog, numbers: &[u64]) -> Result<Vec<Verdict>, Failure> {
    let documents: Vec<String> = numbers.iter().map(|number| alert(*number)).collect();
    syslog.send(&documents.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The document of a message, whose header is as RFC 5424 wants it.
fn document(message: &str) -> Value {
    let parts: Vec<&str> = message.splitn(7, ' ').collect();
    assert_eq!((parts[0], parts[1], parts[3], parts[5]), ("<84>1", "2026-05-28T20:26:42.000000Z", "sensor", "alert"));
    let (data, document) = parts[6].split_once("] ").unwrap();
    assert!(data.starts_with("[origin software=\"sensor\" swVersion=\""), "{message}");
    serde_json::from_str(document).unwrap()
}

/// The next frame with counted octets; `None` at the end.
fn frame(stream: &mut dyn Read) -> Option<String> {
    let mut length = String::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 0 {
            assert!(length.is_empty());
            return None;
        }
        if byte[0] == b' ' {
            break;
        }
        length.push(char::from(byte[0]));
    }
    let mut message = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut message).unwrap();
    Some(String::from_utf8(message).unwrap())
}

#[test]
fn datagrams_go_to_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut syslog = Syslog::new(Place::Unix(path.clone()), None).unwrap();
    assert!(matches!(send(&mut syslog, &[1]), Err(Failure::Later { .. })));
    let socket = UnixDatagram::bind(&path).unwrap();
    assert_eq!(send(&mut syslog, &[1, 2]).unwrap(), [Verdict::Delivered, Verdict::Delivered]);
    for number in [1, 2] {
        let mut bytes = vec![0; 10_000];
        let len = socket.recv(&mut bytes).unwrap();
        let expected: Value = serde_json::from_str(&alert(number)).unwrap();
        assert_eq!(document(std::str::from_utf8(&bytes[..len]).unwrap()), expected);
    }
    let mut huge = serde_json::from_str::<Value>(&alert(3)).unwrap();
    huge["sensor"] = json!({"note": "x".repeat(4 << 20)});
    assert_eq!(syslog.send(&[&huge.to_string()]).unwrap(), [Verdict::Delivered]);
    let mut bytes = vec![0; 10_000];
    let len = socket.recv(&mut bytes).unwrap();
    assert!(len <= 8192, "{len} bytes");
    assert_eq!(document(std::str::from_utf8(&bytes[..len]).unwrap())["sensor"]["shortened"], json!(["sensor.note"]));
    // Names cannot be cut.
    let names: Value = (0..400_000).map(|number| (format!("name {number}"), json!(0))).collect();
    assert!(matches!(&syslog.send(&[&names.to_string()]).unwrap()[..], [Verdict::Rejected(_)]));
}

#[test]
fn frames_go_over_tcp_and_over_a_new_connection_when_the_old_one_is_gone() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut syslog = Syslog::new(Place::Tcp("127.0.0.1".to_owned(), port), None).unwrap();
    let once = |listener: TcpListener, count: usize| -> JoinHandle<(TcpListener, Vec<Value>)> {
        spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let documents = (0..count).map(|_| document(&frame(&mut stream).unwrap())).collect();
            (listener, documents)
        })
    };
    let server = once(listener, 3);
    send(&mut syslog, &[1, 2]).unwrap();
    send(&mut syslog, &[3]).unwrap();
    let (listener, documents) = server.join().unwrap();
    assert!(documents.iter().map(|document| document["event"]["id"].as_u64().unwrap()).eq([1, 2, 3]));
    let server = once(listener, 1);
    send(&mut syslog, &[4]).unwrap();
    let (listener, documents) = server.join().unwrap();
    assert_eq!(documents.len(), 1);
    drop(listener);
    assert!(matches!(send(&mut syslog, &[5]), Err(Failure::Later { .. })));
}

#[test]
fn over_tls_only_the_right_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let (good, other) = (Tls::new("127.0.0.1").unwrap(), Tls::new("127.0.0.1").unwrap());
    let (named, authority) = (Tls::new("logs.example.org").unwrap(), good.authority.clone());
    let of_name = named.authority.clone();
    for (tls, authority, wrong) in [
        (good, authority.clone(), None),
        (other, authority, Some("invalid peer certificate")),
        (named, of_name, Some("not valid for name")),
    ] {
        std::fs::write(&ca_file, authority).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = (tls.wrap)(stream).unwrap();
            let mut first = [0];
            // A client that does not trust it says no more.
            let Ok(1) = stream.read(&mut first) else { return None };
            frame(&mut (&first[..]).chain(stream))
        });
        let mut syslog = Syslog::new(Place::Tls("127.0.0.1".to_owned(), port), Some(&ca_file)).unwrap();
        let result = send(&mut syslog, &[1]);
        drop(syslog);
        let received = server.join().unwrap();
        match (wrong, result) {
            (None, Ok(_)) => assert_eq!(document(&received.unwrap())["event"]["id"], 1),
            (Some(wrong), Err(Failure::Later { reason, .. })) => {
                assert!(reason.contains(wrong), "{reason}");
                assert_eq!(received, None);
            }
            (_, result) => panic!("{result:?}"),
        }
    }
}
