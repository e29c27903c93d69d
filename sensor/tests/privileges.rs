//! What is given up is given up by every thread. In a program of its own, since it is for good.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use sensor::privileges::{Needs, give_up};
use std::fs;
use std::io::{self, Read as _};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

/// The values of a line of all threads' status in /proc, each once.
fn of_all_threads(name: &str) -> Vec<String> {
    let status = |thread: io::Result<fs::DirEntry>| fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
    let value = |text: String| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let mut values: Vec<String> = fs::read_dir("/proc/self/task").unwrap().map(status).map(value).collect();
    values.sort();
    values.dedup();
    values
}

#[test]
fn all_threads_give_up_everything() {
    let (mut reader, writer) = io::pipe().unwrap();
    let reading = thread::spawn(move || reader.read(&mut [0; 10]));
    let (sender, receiver) = channel::<()>();
    let elsewhere = std::env::current_exe().unwrap();
    let waiting = thread::spawn(move || (receiver.recv(), fs::File::open(elsewhere)));

    let kept = give_up(&Needs::default());
    assert_eq!(kept.failures, Vec::<String>::new());
    for name in ["CapEff:", "CapPrm:", "CapInh:"] {
        assert_eq!(of_all_threads(name), ["0000000000000000"], "{name}");
    }
    assert_eq!(of_all_threads("NoNewPrivs:"), ["1"]);
    assert_eq!(of_all_threads("Seccomp:"), ["2"]);

    assert_eq!(Command::new("true").status().unwrap_err().kind(), io::ErrorKind::PermissionDenied);

    // Whatever they were doing goes on.
    assert!(!reading.is_finished() && !waiting.is_finished());
    drop((writer, sender));
    assert_eq!(reading.join().unwrap().unwrap(), 0);
    let (gone, opened) = waiting.join().unwrap();
    assert!(gone.is_err());
    let text = kept.to_string();
    assert!(text.starts_with("capabilities: none; ") && text.contains(" system calls; "), "{text}");
    if text.contains("no Landlock") {
        eprintln!("SKIPPED privileges: files, since this kernel has no Landlock");
    } else {
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
