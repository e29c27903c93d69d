//! HTTP/1.1 (RFC 9112) as far as a bulk request needs it, strictly.

use std::io::{self, Read};

/// Bytes of a request at most.
const MAX: usize = 16 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, with values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header that is there once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }
}

/// The next request of a connection; `None` if there is none any more. A request that is wrong is [`io::ErrorKind::InvalidData`].
pub(crate) fn read(stream: &mut dyn Read, ended: &dyn Fn() -> bool) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if !more(stream, &mut bytes, ended)? {
            return if bytes.is_empty() { Ok(None) } else { Err(wrong("a head that breaks off")) };
        }
    };
    let head = bytes.get(..head_end).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| wrong("a head that is no text"))?;
    let mut lines = head.split("\r\n");
    let request_line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = request_line[..] else { return Err(wrong("a wrong request line")) };
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("a header without a colon"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method: method.to_owned(), target: target.to_owned(), headers, body: Vec::new() };
    if request.header("host").is_none() {
        return Err(wrong("no host"));
    }
    let length = request.header("content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.filter(|length| *length <= MAX).ok_or_else(|| wrong("no length"))?;
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if !more(stream, &mut body, ended)? {
            // It broke off, which is no fault of its form.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if body.len() > length {
        return Err(wrong("more than the length says"));
    }
    request.body = body;
    Ok(Some(request))
}

/// Reads some more; `false` at the end.
fn more(stream: &mut dyn Read, bytes: &mut Vec<u8>, ended: &dyn Fn() -> bool) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(read) => {
                bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
                return if bytes.len() > 2 * MAX { Err(wrong("too much")) } else { Ok(read > 0) };
            }
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {
                if ended() {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A response with these headers beside those that it needs.
pub(crate) fn response(status: u16, headers: &[(&str, String)], body: &str) -> Vec<u8> {
    let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{extra}\r\n{body}")
        .into()
}
