//! A server of names, for as long as the value lives: every name has the address 127.0.0.1.

use anyhow::{Context, Result};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);
/// Bytes of a message's head (RFC 1035, 4.1.1).
const HEAD: usize = 12;
/// The type of a question for an address, as its bytes.
const A: [u8; 2] = [0, 1];
/// An answer: the name asked for, type A, class IN, a minute, four bytes, the address.
const ANSWER: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1];

/// A server at work.
pub(crate) struct Names {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Serves at the usual port of 127.0.0.1.
    pub(crate) fn serve() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).context("127.0.0.1:53")?;
        socket.set_read_timeout(Some(TICK))?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Acquire) {
                // Nobody has asked, or who has is gone.
                let _ = answer(&socket);
            }
        });
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(socket: &UdpSocket) -> io::Result<()> {
    let mut bytes = [0; 512];
    let (len, from) = socket.recv_from(&mut bytes)?;
    if let Some(answer) = bytes.get(..len).and_then(to) {
        socket.send_to(&answer, from)?;
    }
    Ok(())
}

/// The answer to a message with one question.
fn to(message: &[u8]) -> Option<Vec<u8>> {
    // The name ends with an empty label; type and class follow.
    let name = message.get(HEAD..)?.iter().position(|byte| *byte == 0)?;
    let question = message.get(HEAD..HEAD + name + 5)?;
    let answers = u8::from(question.get(name + 1..name + 3)? == A);
    // An answer, with recursion, without an error; one question, and as many answers.
    let head = [0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0];
    let mut answer = [message.get(..2)?, &head, question].concat();
    if answers > 0 {
        answer.extend(ANSWER);
    }
    Some(answer)
}
