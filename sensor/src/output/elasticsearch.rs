//! Alerts to a data stream of Elasticsearch or OpenSearch, by the bulk interface over HTTPS.
//!
//! A document is created under its own id, so that one that is sent again, because the answer to the first time was lost, is found
//! to be there. No proxy is used and no redirect followed: the credentials go to the configured server alone.

mod bulk;

use super::remote::{Failure, Transport, Verdict};
use super::secret::{Secret, SecretFile};
use super::tls;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{HeaderValue, Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Most bytes of an answer that are read; it has some hundred for each document that is not taken.
const ANSWER: u64 = 4 << 20;
/// Of the answer only what is read here.
const FILTER: &str = "filter_path=items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason,\
    error.type,error.reason,status";

/// How long to wait for the server.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For everything, the connection included.
    pub all: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), all: Duration::from_secs(30) }
    }
}

/// How the sensor proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// An API key, as Elasticsearch shows it: `encoded`, or `id:api_key`.
    ApiKey(SecretFile),
    /// `USER:PASSWORD`.
    Password(SecretFile),
}

/// The way to a server.
#[derive(Debug)]
pub struct Elasticsearch {
    agent: Agent,
    target: String,
    login: Option<Login>,
    /// What was read last; read again once the server has refused it.
    authorization: Option<HeaderValue>,
}

impl Elasticsearch {
    /// Prepares the way to a data stream of the server at `url`; nothing is sent yet. Reads the certificates and the credentials.
    ///
    /// # Errors
    ///
    /// When one of the files cannot be used.
    pub fn new(
        url: &str,
        data_stream: &str,
        login: Option<Login>,
        ca_file: Option<&Path>,
        timeouts: Timeouts,
    ) -> io::Result<Self> {
        let mut config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(timeouts.connect))
            .timeout_global(Some(timeouts.all))
            .user_agent(concat!("sensor/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .max_idle_connections(1);
        if url.starts_with("https:") {
            let authorities = tls::authorities(ca_file)?;
            let roots: Vec<_> = authorities.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(roots)));
            config = config.tls_config(tls.unversioned_rustls_crypto_provider(provider).build());
        }
        let target = format!("{}/{data_stream}/_bulk?{FILTER}", url.trim_end_matches('/'));
        let mut this = Self { agent: config.build().new_agent(), target, login, authorization: None };
        if let Some(file) = this.login.as_ref().map(Login::file)
            && file.is_open()?
        {
            tracing::warn!("{}: other users can read it", file.path().display());
        }
        this.authorization = this.read_login()?;
        Ok(this)
    }

    fn read_login(&self) -> io::Result<Option<HeaderValue>> {
        let Some(login) = &self.login else { return Ok(None) };
        let path = login.file().path().display();
        let error =
            |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {error}"));
        let secret = login.file().read().map_err(|cause| error(&cause))?;
        let mut value = HeaderValue::from_str(&login.header(&secret)).map_err(|cause| error(&cause))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn post(&self, body: &[u8]) -> Result<Response<Body>, ureq::Error> {
        let request = self.agent.post(&self.target).header("content-type", "application/x-ndjson");
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
        .send(body)
    }
}

impl Login {
    fn file(&self) -> &SecretFile {
        let (Self::ApiKey(file) | Self::Password(file)) = self;
        file
    }

    fn header(&self, secret: &Secret) -> String {
        let secret = secret.reveal();
        match self {
            Self::ApiKey(_) if secret.contains(':') => format!("ApiKey {}", STANDARD.encode(secret)),
            Self::ApiKey(_) => format!("ApiKey {secret}"),
            Self::Password(_) => format!("Basic {}", STANDARD.encode(secret)),
        }
    }
}

impl Transport for Elasticsearch {
    fn send(&mut self, documents: &[&str]) -> Result<Vec<Verdict>, Failure> {
        let later = |reason: String, after| Failure::Later { reason, after };
        let mut response = self.post(&bulk::body(documents)).map_err(|error| later(described(&error), None))?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| wait(value.to_str().ok()?, Timestamp::now()));
        let answer = response.body_mut().with_config().limit(ANSWER).read_to_vec();
        if status == StatusCode::OK {
            let answer =
                answer.map_err(|error| later(format!("the answer breaks off: {}", described(&error)), None))?;
            return bulk::verdicts(&answer, documents.len());
        }
        // What a proxy in between says is not JSON.
        let own: Option<Value> = serde_json::from_slice(&answer.unwrap_or_default()).ok();
        let own = own.as_ref().and_then(|answer| answer.get("error")).filter(|error| error.get("type").is_some());
        let reason = own.map_or_else(String::new, |error| format!(": {}", bulk::reason(error)));
        let reason = format!("the server answers {status}{reason}");
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::Smaller(reason)),
            StatusCode::BAD_REQUEST if own.is_some() => Err(Failure::Smaller(reason)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                // Somebody may have given it another one meanwhile.
                match self.read_login() {
                    Ok(authorization) => self.authorization = authorization,
                    Err(error) => tracing::error!("elasticsearch: {error}"),
                }
                Err(later(reason, after))
            }
            _ => Err(later(reason, after)),
        }
    }
}

/// How long a server asks to be left alone: seconds or a date (RFC 9110, 10.2.3).
fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value.trim()).ok()?;
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

/// An error on one line, in words that say what to do where the library's do not.
fn described(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Rustls(error) => format!("TLS: {error}; see ca_file and the name in url"),
        error => bulk::shown(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_asks_to_wait_for_seconds_or_until_a_date() {
        let now: Timestamp = "2026-05-28T20:26:42Z".parse().unwrap();
        let seconds = |value: &str| wait(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Thu, 28 May 2026 20:27:12 GMT"), Some(30));
        assert_eq!(seconds("Thu, 28 May 2026 20:26:12 GMT"), Some(0));
        for wrong in ["", "soon", "-1", "1.5"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_go_out_in_the_form_that_the_server_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let header = |login: fn(SecretFile) -> Login, text: &str| {
            std::fs::write(&path, text).unwrap();
            let login = login(SecretFile::new(&path));
            login.header(&login.file().read().unwrap())
        };
        assert_eq!(header(Login::ApiKey, "id:key\n"), "ApiKey aWQ6a2V5");
        assert_eq!(header(Login::ApiKey, "aWQ6a2V5\n"), "ApiKey aWQ6a2V5");
        assert_eq!(header(Login::Password, "elastic:x y"), "Basic ZWxhc3RpYzp4IHk=");
    }
}
