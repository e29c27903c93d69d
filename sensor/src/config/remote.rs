//! `[output.spool]`, `[output.elasticsearch]` and `[output.syslog]`: outputs whose far end is elsewhere.

use super::parse::{self, Text};
use crate::output::syslog::Place;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use ureq::http::Uri;

/// Bytes that a spool may hold.
const SPOOL: RangeInclusive<u64> = 1 << 20..=64 << 30;

/// `[output.spool]`: where documents wait while a far end is away.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The directory; each output with a far end has one of its own in it.
    #[serde(deserialize_with = "directory")]
    pub directory: PathBuf,
    /// Bytes for each of them, 1 MiB to 64 GiB; the oldest documents are dropped to make room.
    #[serde(deserialize_with = "bytes")]
    pub bytes: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self { directory: PathBuf::from("/var/lib/sensor/spool"), bytes: 64 << 20 }
    }
}

/// `[output.elasticsearch]`: a data stream of Elasticsearch or OpenSearch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elasticsearch {
    /// The server: `https://`, or `http://` if it is on this host; a path may follow.
    #[serde(deserialize_with = "url")]
    pub url: String,
    /// The data stream.
    #[serde(default = "Elasticsearch::data_stream", deserialize_with = "data_stream")]
    pub data_stream: String,
    /// File with an API key. At most one of the two login files is given.
    #[serde(default, deserialize_with = "parse::absolute_path")]
    pub api_key_file: Option<PathBuf>,
    /// File with `USER:PASSWORD`.
    #[serde(default, deserialize_with = "parse::absolute_path")]
    pub password_file: Option<PathBuf>,
    /// File with the authorities to trust, in PEM form, instead of the system's.
    #[serde(default, deserialize_with = "parse::absolute_path")]
    pub ca_file: Option<PathBuf>,
}

impl Elasticsearch {
    /// The data stream if none is named: the dataset `sensor.alerts` in the namespace `default`.
    #[must_use]
    pub fn data_stream() -> String {
        "logs-sensor.alerts-default".to_owned()
    }

    /// The port of the server: that of the address, or else the usual one.
    #[must_use]
    pub fn port(&self) -> u16 {
        let usual = if self.url.starts_with("http:") { 80 } else { 443 };
        self.url.parse::<Uri>().ok().and_then(|uri| uri.port_u16()).unwrap_or(usual)
    }
}

/// `[output.syslog]`: a syslog server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// The server: `unix:PATH`, `tcp://HOST:PORT` or `tls://HOST:PORT`.
    #[serde(deserialize_with = "place")]
    pub to: Place,
    /// File with the authorities to trust, in PEM form, instead of the system's; for `tls://`.
    #[serde(default, deserialize_with = "parse::absolute_path")]
    pub ca_file: Option<PathBuf>,
}

fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
    let allowed = "\"unix:\" with an absolute path, or \"tcp://\" or \"tls://\" with a host and a port";
    let read = |text: &str| {
        let none = || format!("{text:?} is none");
        if let Some(path) = text.strip_prefix("unix:").map(PathBuf::from) {
            let good = path.is_absolute() && !text.contains(char::is_control);
            return if good { Ok(Place::Unix(path)) } else { Err(none()) };
        }
        let uri = text.parse::<Uri>().map_err(|_| none())?;
        let authority = uri.authority().filter(|one| !one.as_str().contains('@')).ok_or_else(none)?;
        // A port of nobody's is as good as none.
        let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(none)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        match uri.scheme_str().filter(|_| !host.is_empty() && uri.path() == "/" && uri.query().is_none()) {
            Some("tcp") => Ok(Place::Tcp(host, port)),
            Some("tls") => Ok(Place::Tls(host, port)),
            _ => Err(none()),
        }
    };
    deserializer.deserialize_str(Text { allowed, read })
}

/// The table, if its keys go together.
pub(super) fn elasticsearch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Elasticsearch>, D::Error> {
    let table = Elasticsearch::deserialize(deserializer)?;
    if table.api_key_file.is_some() && table.password_file.is_some() {
        return Err(D::Error::custom("api_key_file and password_file are both given; allowed is one of them"));
    }
    Ok(Some(table))
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let allowed = "an address such as \"https://elastic.example.org:9200\" without user, password and query";
    let read = |text: &str| {
        let none = || format!("{text:?} is none");
        let uri = text.parse::<Uri>().map_err(|_| none())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(none()) };
        if authority.as_str().contains('@') || uri.query().is_some() || authority.host().is_empty() {
            return Err(none());
        }
        match scheme {
            "https" => Ok(text.trim_end_matches('/').to_owned()),
            "http" if is_this_host(authority.host()) => Ok(text.trim_end_matches('/').to_owned()),
            "http" => Err(format!("{text:?} would carry everything in the clear")),
            _ => Err(none()),
        }
    };
    deserializer.deserialize_str(Text { allowed, read })
}

/// Whether a host of an address is this one for sure.
fn is_this_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// As Elasticsearch allows the names of data streams.
fn data_stream<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let allowed = "a name of at most 255 bytes, in lower case, without spaces, commas and \\ / * ? \" < > | # : and \
        not beginning with - _ + or .";
    let read = |text: &str| {
        let bad =
            |one: char| one.is_control() || one.is_whitespace() || one.is_uppercase() || ",\\/*?\"<>|#:%".contains(one);
        match text.is_empty() || text.len() > 255 || text.starts_with(['-', '_', '+', '.']) || text.contains(bad) {
            true => Err(format!("{text:?} is none")),
            false => Ok(text.to_owned()),
        }
    };
    deserializer.deserialize_str(Text { allowed, read })
}

fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    parse::absolute_path(deserializer).map(Option::unwrap_or_default)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of bytes from {} to {}", SPOOL.start(), SPOOL.end())
        }

        fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u64, E> {
            let fits = u64::try_from(bytes).ok().filter(|bytes| SPOOL.contains(bytes));
            fits.ok_or_else(|| E::invalid_value(Unexpected::Signed(bytes), &self))
        }
    }
    deserializer.deserialize_i64(Bytes)
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn error(keys: &str) -> String {
        parse::config(&format!("[output.elasticsearch]\n{keys}")).unwrap_err().to_string()
    }

    #[test]
    fn addresses_go_to_a_server_and_hide_nothing() {
        for good in [
            "https://es.example.org",
            "https://[2001:db8::1]:9200/es/",
            "http://127.0.0.1:9200",
            "http://[::1]:1",
            "http://localhost",
        ] {
            let config = parse::config(&format!("[output.elasticsearch]\nurl = '{good}'")).unwrap();
            let table = config.output.elasticsearch.unwrap();
            assert_eq!(table.url, good.trim_end_matches('/'));
            assert_eq!(table.data_stream, "logs-sensor.alerts-default");
        }
        for bad in [
            "",
            "es.example.org",
            "es.example.org:9200",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x/?a",
            "/x",
            "https://x y",
        ] {
            assert!(error(&format!("url = '{bad}'")).contains("is none; allowed is an address"), "{bad}");
        }
        for bad in ["http://es.example.org", "http://10.0.0.1:9200", "http://localhost.example.org"] {
            assert!(error(&format!("url = '{bad}'")).contains("in the clear"), "{bad}");
        }
    }

    #[test]
    fn syslog_goes_to_a_socket_or_a_server() {
        for good in ["unix:/dev/log", "tcp://logs.example.org:601", "tls://[2001:db8::1]:6514"] {
            let config = parse::config(&format!("output.syslog.to = '{good}'")).unwrap();
            assert_eq!(config.output.syslog.unwrap().to.to_string(), good);
        }
        for bad in [
            "",
            "unix:",
            "unix:log",
            "/dev/log",
            "tcp://x",
            "tls://x:0",
            "udp://x:514",
            "tcp://x:1/y",
            "tcp://u@x:1",
            "tls://:1",
            "tcp://x:1?y",
        ] {
            let error = parse::config(&format!("output.syslog.to = '{bad}'")).unwrap_err().to_string();
            assert!(error.contains("is none; allowed is \"unix:\""), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_told() {
        assert!(error("data_stream = 'x'").contains("missing field `url`"));
        let both = error("url = 'https://x'\napi_key_file = '/a'\npassword_file = '/b'");
        assert!(
            both.starts_with("1:") && both.contains("output.elasticsearch: api_key_file and password_file"),
            "{both}"
        );
        assert!(error("url = 'https://x'\nproxy = 'y'").contains("unknown key `proxy`"));
        for name in ["", "A", "a b", "a/b", "-a", ".a", "a,b", "a*"] {
            assert!(
                error(&format!("url = 'https://x'\ndata_stream = '{name}'")).contains("is none; allowed"),
                "{name}"
            );
        }
        for bytes in ["1048575", "68719476737", "-1"] {
            let error = parse::config(&format!("output.spool.bytes = {bytes}")).unwrap_err().to_string();
            assert!(error.contains("from 1048576 to 68719476736"), "{error}");
        }
    }
}
