//! The place where the numbers can be asked for: HTTP on a loopback address or a UNIX socket, in a thread of its own.
//!
//! `GET /metrics` gives the numbers; `GET /health` is 200 if the sensor is well and 503, with the reason, if it is not.

use super::{Scrape, Source};
use crate::config::Listen;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// What the format is called (OpenMetrics 1.0.0).
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Scrapes at a time; more wait.
const AT_A_TIME: usize = 8;
/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is accepted after that has failed, as for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(500);

/// Why nobody can be served.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be served on {listen}: {source}")]
pub struct Unusable {
    listen: Listen,
    source: io::Error,
}

/// A server at work. Its UNIX socket goes with it.
#[derive(Debug)]
pub struct Server {
    socket: Option<PathBuf>,
}

/// A place to accept connections at, before and after it belongs to a runtime.
enum Listener<T, U> {
    Tcp(T),
    Unix(U),
}

type Bound = Listener<std::net::TcpListener, std::os::unix::net::UnixListener>;

impl Server {
    /// Listens, and answers from a thread of its own.
    ///
    /// # Errors
    ///
    /// When the address is in use or not to be had, or the thread cannot be started.
    pub fn start(listen: &Listen, source: Source) -> Result<Self, Unusable> {
        let unusable = |source| Unusable { listen: listen.clone(), source };
        let listener = bind(listen).map_err(unusable)?;
        let answers = Arc::new(Answers::new(source));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unusable)?;
        let serve = move || runtime.block_on(serve(listener, &answers));
        std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(unusable)?;
        Ok(Self { socket: listen.socket().map(Path::to_owned) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(path) = &self.socket {
            // It may have been taken away already.
            let _ = fs::remove_file(path);
        }
    }
}

fn bind(listen: &Listen) -> io::Result<Bound> {
    match listen {
        Listen::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(listener))
        }
        Listen::Unix(path) => {
            // What an earlier run left behind if it was killed; nobody listens there any more.
            let left = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
            if left && std::os::unix::net::UnixStream::connect(path).is_err() {
                fs::remove_file(path)?;
            }
            let listener = std::os::unix::net::UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
            Ok(Listener::Unix(listener))
        }
    }
}

async fn serve(listener: Bound, answers: &Arc<Answers>) {
    let listener = match listener {
        Listener::Tcp(listener) => TcpListener::from_std(listener).map(Listener::Tcp),
        Listener::Unix(listener) => UnixListener::from_std(listener).map(Listener::Unix),
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("metrics cannot be served: {error}"),
    };
    let free = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        // Never closed, so this does not fail.
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let answers = Arc::clone(answers);
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    converse(stream, answers).await;
                    drop(permit);
                })
            }),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    converse(stream, answers).await;
                    drop(permit);
                })
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!("metrics: no connection can be accepted: {error}");
            sleep(PAUSE).await;
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, answers: Arc<Answers>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(request.method(), request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off or says nonsense has had its answer.
    let _ = timeout(PATIENCE, connection).await;
}

#[derive(Debug)]
struct Answers {
    source: Arc<Source>,
}

impl Answers {
    fn new(source: Source) -> Self {
        Self { source: Arc::new(source) }
    }

    async fn numbers(&self) -> String {
        let user = self.source.board.ask().await;
        let mut registry = Registry::with_prefix("sensor");
        registry.register_collector(Box::new(Scrape { source: Arc::clone(&self.source), user }));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let get = *method == Method::GET || *method == Method::HEAD;
        let (status, kind, body) = match path {
            _ if !get => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
            "/metrics" => (StatusCode::OK, FORMAT, self.numbers().await),
            "/health" => match self.source.unwell() {
                None => (StatusCode::OK, "text/plain", "well\n".to_owned()),
                Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{reason}\n")),
            },
            _ => (StatusCode::NOT_FOUND, "text/plain", "there are /metrics and /health\n".to_owned()),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::counters::Counters;
    use crate::metrics::{Reader, UserSide};
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream};

    fn source(silent: Duration) -> Source {
        let missed = BTreeMap::from([("exec".to_owned(), 3)]);
        let exceptions = BTreeMap::from([("health".to_owned(), 2)]);
        let user_side = UserSide { exceptions, missed, ..UserSide::default() };
        let counters = Arc::new(Counters::zero());
        Source { counters, rings: Vec::new(), hooks: Vec::new(), board: Reader::stuck(user_side, silent) }
    }

    fn free_port() -> Listen {
        Listen::Tcp(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap())
    }

    fn ask(listen: &Listen, request: &str) -> String {
        let Listen::Tcp(address) = listen else { panic!() };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn numbers_and_health_are_told() {
        let listen = free_port();
        let _server = Server::start(&listen, source(Duration::ZERO)).unwrap();
        let answer = ask(&listen, "GET /metrics HTTP/1.0\r\n\r\n");
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
        assert!(answer.contains("\nsensor_kernel_runs_skipped_total{hook=\"exec\"} 3\n"), "{answer}");
        assert!(answer.contains("\nsensor_alerts_total 0\n") && answer.ends_with("# EOF\n"), "{answer}");
        assert!(ask(&listen, "GET /health HTTP/1.0\r\n\r\n").ends_with("well\n"));
        assert!(ask(&listen, "POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 405"));
        assert!(ask(&listen, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
        assert!(Server::start(&listen, source(Duration::ZERO)).is_err());
    }

    #[test]
    fn a_user_side_that_is_stuck_is_unwell() {
        let listen = free_port();
        let _server = Server::start(&listen, source(Duration::from_secs(20))).unwrap();
        let answer = ask(&listen, "GET /health HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.0 503") && answer.contains("have not been read for 20 s"), "{answer}");
    }
}
