//! Documents one behind the other, as lines of JSON or in another form, to a file or a pipe.

use super::document::Document;
use super::sink::Sink;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// Where the documents go.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file: created with mode 0600 if it is not there, appended to, opened anew on request.
    File(PathBuf),
}

/// How a document is written, with what ends it.
pub type Render = fn(&Document) -> Vec<u8>;

/// A document as one line of JSON.
#[must_use]
pub fn json_line(document: &Document) -> Vec<u8> {
    format!("{}\n", document.json).into_bytes()
}

/// A stream of documents.
#[derive(Debug)]
pub struct Stream {
    target: Target,
    sink: File,
    render: Render,
    /// The last document was written in part.
    cut: bool,
}

impl Stream {
    /// Opens the target.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(target: Target, render: Render) -> io::Result<Self> {
        Ok(Self { sink: open(&target)?, target, render, cut: false })
    }

    /// Writes all bytes; a reader that shares a non-blocking descriptor is waited for.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    self.cut = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.sink, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Sink for Stream {
    fn deliver(&mut self, document: &Document) -> io::Result<()> {
        // What is left of a document that was cut must not run into this one.
        if self.cut {
            self.write(b"\n")?;
        }
        self.write(&(self.render)(document))
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.sink, self.cut) = (open(&self.target)?, false);
        Ok(())
    }
}

fn open(target: &Target) -> io::Result<File> {
    Ok(match target {
        Target::Stdout => File::from(rustix::io::dup(rustix::stdio::stdout())?),
        Target::File(path) => OpenOptions::new().create(true).append(true).mode(0o600).open(path)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::queue::{Queue, Stats};
    use serde_json::{Value, json};
    use std::fs;
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use std::thread::{sleep, spawn};
    use std::time::Duration;

    fn queue(path: PathBuf) -> Queue {
        Queue::start("test", Stream::open(Target::File(path), json_line).unwrap()).unwrap()
    }

    fn send(queue: &mut Queue, value: Value) {
        queue.send(Arc::new(value.into()));
    }

    #[test]
    fn lines_arrive_in_order_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut queue = queue(path.clone());
        for n in 0..100 {
            send(&mut queue, json!({ "n": n }));
        }
        assert_eq!(queue.close(), Stats { queued: 100, delivered: 100, ..Stats::default() });
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().enumerate().all(|(n, line)| line == format!("{{\"n\":{n}}}")));
        assert_eq!(text.lines().count(), 100);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_rotated_file_is_left_behind_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("events"), folder.path().join("events.1"));
        let mut queue = queue(path.clone());
        send(&mut queue, json!(1));
        while queue.stats().delivered == 0 {
            sleep(Duration::from_millis(1));
        }
        fs::rename(&path, &old).unwrap();
        queue.reopen();
        send(&mut queue, json!(2));
        let _ = queue.close();
        assert_eq!(fs::read_to_string(&old).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_full_disk_is_counted() {
        let mut queue = queue(PathBuf::from("/dev/full"));
        send(&mut queue, json!(1));
        send(&mut queue, json!(2));
        assert_eq!(queue.close(), Stats { queued: 2, dropped: 2, ..Stats::default() });
    }

    #[test]
    fn a_reader_that_takes_nothing_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let mut queue = queue(PathBuf::from(format!("/proc/self/fd/{}", writer.as_raw_fd())));
        for _ in 0..100 {
            send(&mut queue, json!("x".repeat(100_000)));
        }
        let stats = queue.close();
        assert_eq!(stats.queued, 100);
        assert!(stats.delivered < 10 && stats.delivered + stats.dropped == 100, "{stats:?}");
        drop(reader);
    }

    #[test]
    fn a_slow_reader_of_a_non_blocking_pipe_gets_everything() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let sink = File::from(OwnedFd::from(writer));
        let mut stream = Stream { target: Target::Stdout, sink, render: json_line, cut: false };
        let document = Document { value: Value::Null, json: "x".repeat(9_999) };
        let writing = spawn(move || (0..40).try_for_each(|_| stream.deliver(&document)));
        let mut all = Vec::new();
        io::Read::read_to_end(&mut reader, &mut all).unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(all.len(), 400_000);
    }

    #[test]
    fn behind_a_document_that_was_cut_the_next_begins_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut stream = Stream::open(Target::File(path.clone()), json_line).unwrap();
        stream.write(b"{\"half").unwrap();
        stream.cut = true;
        stream.deliver(&json!({}).into()).unwrap();
        stream.deliver(&json!({}).into()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n{}\n");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Stream::open(Target::File(folder.path().to_owned()), json_line).is_err());
    }
}
