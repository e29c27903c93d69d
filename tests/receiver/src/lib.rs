//! For tests: a server that speaks the bulk interface of Elasticsearch, on a loopback address, for as long as the value lives.
//!
//! It is strict: whatever in a request is not as HTTP and the interface want it is a fault, which the test must look at. It keeps what
//! is created, answers 409 to what is there already, and fails as it is told: with a status, for single documents, by breaking the
//! connection off before or within its answer, or by never answering.

mod bulk;
mod http;
pub mod tls;

pub use http::Request;

use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

/// How often a connection that waits looks whether the server has ended.
const TICK: Duration = Duration::from_millis(20);

/// A connection, encrypted or not.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Makes a stream of an accepted connection, as by TLS.
pub type Wrap = Box<dyn Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync>;

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Create the documents.
    Create,
    /// Create those at even places, and answer this status, with this type of error, for the others.
    CreateHalf(u16, &'static str),
    /// Create nothing, and answer this status with these headers and this body.
    Status(u16, Vec<(&'static str, String)>, &'static str),
    /// Create nothing, and close the connection.
    Close,
    /// Create the documents, and close the connection in the middle of the answer.
    CreateAndBreak,
    /// Create the documents, and never answer.
    CreateAndHang,
}

/// What the server has seen.
#[derive(Debug, Default)]
struct State {
    documents: BTreeMap<String, Value>,
    conflicts: usize,
    requests: Vec<Request>,
    faults: Vec<String>,
    replies: VecDeque<Reply>,
    authorization: Option<String>,
}

struct Shared {
    state: Mutex<State>,
    end: AtomicBool,
    wrap: Wrap,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens without encryption on a port that is free.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start() -> io::Result<Self> {
        Self::listen(0, Box::new(|stream| Ok(Box::new(stream))))
    }

    /// The same on a port (0: any), with streams of another kind.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub fn listen(port: u16, wrap: Wrap) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::default(), end: AtomicBool::new(false), wrap });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to do with the next requests; behind them [`Reply::Create`] holds again.
    pub fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.state().replies = replies.into_iter().collect();
    }

    /// Answers 401 to whatever does not have this header from now on.
    pub fn require(&self, authorization: &str) {
        self.shared.state().authorization = Some(authorization.to_owned());
    }

    /// What was created, by id.
    #[must_use]
    pub fn documents(&self) -> BTreeMap<String, Value> {
        self.shared.state().documents.clone()
    }

    /// What was created since the last time, by id, and forgets it, and what was asked: for tests that would keep too much.
    #[must_use]
    pub fn take(&self) -> BTreeMap<String, Value> {
        let mut state = self.shared.state();
        state.requests.clear();
        std::mem::take(&mut state.documents)
    }

    /// Documents that were sent although they were there.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.shared.state().conflicts
    }

    /// What was asked.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// What was not as it must be.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.shared.state().faults.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.end.load(Ordering::Acquire) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            // A client may break off whenever it likes.
            let _ = serve(stream, &shared);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(TICK))?;
    let mut stream = (shared.wrap)(stream)?;
    let ended = || shared.end.load(Ordering::Acquire);
    loop {
        let request = match http::read(&mut stream, &ended) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(fault) if fault.kind() == io::ErrorKind::InvalidData => {
                shared.state().faults.push(fault.to_string());
                return Err(fault);
            }
            Err(error) => return Err(error),
        };
        let (reply, answer) = bulk::answer(&mut shared.state(), request);
        match reply {
            Reply::Close => return Ok(()),
            Reply::CreateAndBreak => {
                let half = answer.split_at(answer.len() / 2).0;
                stream.write_all(half)?;
                return stream.flush();
            }
            Reply::CreateAndHang => {
                while !ended() {
                    sleep(TICK);
                }
                return Ok(());
            }
            Reply::Create | Reply::CreateHalf(..) | Reply::Status(..) => {
                stream.write_all(&answer)?;
                stream.flush()?;
            }
        }
    }
}
