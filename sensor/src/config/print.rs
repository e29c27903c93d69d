//! From the configuration to TOML.

use super::{
    Config, Elasticsearch, Evidence, Hook, Hooks, Host, Kernel, Life, Metrics, Noise, Output, Rings, Rule, Spool,
    Syslog,
};
use crate::detect::exception::{Conditions, Exception};
use ipnet::IpNet;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration. A key that has no value is shown as a comment that says what holds instead.
pub(super) fn config(config: &Config) -> String {
    // Taken apart completely, so that a new key cannot be forgotten.
    let Config { rule, exception, evidence, hooks, host, kernel, rings, output, noise, life, metrics } = config;
    let Rule { span, excluded, relays, disabled } = rule;
    let Evidence { environment, redact, runtimes } = evidence;
    let Hooks { connect, accept, fork } = hooks;
    let Host { id, name } = host;
    let Kernel { btf } = kernel;
    let Rings { connections, executions } = rings;
    let Output { stdout, file, journal, elasticsearch, syslog, spool } = output;
    let Spool { directory, bytes } = spool;
    let Noise { collapse, per_minute } = noise;
    let Life { outputs, heartbeat } = life;
    let Metrics { listen } = metrics;
    let networks: Vec<String> = excluded.iter().map(|network| quoted(&network.to_string())).collect();
    let mut text = String::new();
    let relays: Vec<String> = relays.texts().iter().map(|text| quoted(text)).collect();
    let off: Vec<String> = disabled.iter().map(|id| quoted(id)).collect();
    section(
        &mut text,
        "rule",
        &[
            ("span", Ok(quoted(&duration(*span)))),
            ("excluded", Ok(list(&networks))),
            ("relays", Ok(list(&relays))),
            ("disabled", Ok(list(&off))),
        ],
    );
    exceptions(&mut text, exception);
    let environment: Vec<String> = environment.iter().map(|name| quoted(name)).collect();
    let redact: Vec<String> = redact.iter().map(|pattern| quoted(&pattern.text())).collect();
    let runtimes: Vec<String> = runtimes.iter().map(|path| quoted(&path.to_string_lossy())).collect();
    section(
        &mut text,
        "evidence",
        &[("environment", Ok(list(&environment))), ("redact", Ok(list(&redact))), ("runtimes", Ok(list(&runtimes)))],
    );
    section(
        &mut text,
        "hooks",
        &[
            ("connect", Ok(quoted(connect.name()))),
            ("accept", Ok(quoted(accept.map_or("off", Hook::name)))),
            ("fork", Ok(quoted(if *fork { "auto" } else { "off" }))),
        ],
    );
    let id = id.as_deref().map(quoted).ok_or("the machine id");
    let name = name.as_deref().map(quoted).ok_or("the host name");
    section(&mut text, "host", &[("id", id), ("name", name)]);
    // Paths are text: they come from TOML.
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.to_string_lossy()));
    let btf = path(btf).ok_or(crate::kernel::btf::KERNEL_BTF);
    section(&mut text, "kernel", &[("btf", btf)]);
    section(
        &mut text,
        "rings",
        &[("connections", Ok(connections.to_string())), ("executions", Ok(executions.to_string()))],
    );
    let file = path(file).ok_or("no file");
    section(
        &mut text,
        "output",
        &[("stdout", Ok(stdout.to_string())), ("file", file), ("journal", Ok(journal.to_string()))],
    );
    match elasticsearch {
        Some(Elasticsearch { url, data_stream, api_key_file, password_file, ca_file }) => section(
            &mut text,
            "output.elasticsearch",
            &[
                ("url", Ok(quoted(url))),
                ("data_stream", Ok(quoted(data_stream))),
                ("api_key_file", path(api_key_file).ok_or("no API key")),
                ("password_file", path(password_file).ok_or("no user and password")),
                ("ca_file", path(ca_file).ok_or("the system's authorities")),
            ],
        ),
        None => text.push_str("\n# [output.elasticsearch] is not there: alerts go to no server\n"),
    }
    match syslog {
        Some(Syslog { to, ca_file }) => section(
            &mut text,
            "output.syslog",
            &[("to", Ok(quoted(&to.to_string()))), ("ca_file", path(ca_file).ok_or("the system's authorities"))],
        ),
        None => text.push_str("\n# [output.syslog] is not there: alerts go to no syslog server\n"),
    }
    section(
        &mut text,
        "output.spool",
        &[("directory", Ok(quoted(&directory.to_string_lossy()))), ("bytes", Ok(bytes.to_string()))],
    );
    let collapse = collapse.map_or_else(|| "off".to_owned(), duration);
    let per_minute = per_minute.map_or(0, NonZeroU32::get);
    section(&mut text, "noise", &[("collapse", Ok(quoted(&collapse))), ("per_minute", Ok(per_minute.to_string()))]);
    let outputs: Vec<String> = outputs.iter().map(|place| quoted(place.name())).collect();
    let heartbeat = heartbeat.map_or_else(|| "off".to_owned(), duration);
    section(&mut text, "life", &[("outputs", Ok(list(&outputs))), ("heartbeat", Ok(quoted(&heartbeat)))]);
    let listen = listen.as_ref().map(|listen| quoted(&listen.to_string())).ok_or("nobody can ask");
    section(&mut text, "metrics", &[("listen", listen)]);
    text
}

fn exceptions(text: &mut String, exceptions: &[Exception]) {
    if exceptions.is_empty() {
        text.push_str("\n# [[exception]] is not there: every match gives an alert\n");
    }
    for Exception { name, reason, until, conditions } in exceptions {
        let Conditions { rule, executable, arguments, parent, parent_arguments, .. } = conditions;
        let Conditions { ancestor, user, container, image, source, destination, port, .. } = conditions;
        let text_of = |value: &Option<String>| value.as_deref().map(quoted);
        let network = |network: &Option<IpNet>| network.map(|network| quoted(&network.to_string()));
        let keys = [
            ("name", Some(quoted(name))),
            ("reason", Some(quoted(reason))),
            ("until", until.map(|date| quoted(&date.to_string()))),
            ("rule", text_of(rule)),
            ("executable", text_of(executable)),
            ("arguments", text_of(arguments)),
            ("parent", text_of(parent)),
            ("parent_arguments", text_of(parent_arguments)),
            ("ancestor", text_of(ancestor)),
            ("user", text_of(user)),
            ("container", text_of(container)),
            ("image", text_of(image)),
            ("source", network(source)),
            ("destination", network(destination)),
            ("port", port.map(|port| port.to_string())),
        ];
        // A condition that is not given asks for nothing.
        let given: Vec<_> = keys.into_iter().filter_map(|(key, value)| Some((key, Ok(value?)))).collect();
        section(text, "[exception]", &given);
    }
}

/// One table: its keys with their values, or with what holds without one.
fn section(text: &mut String, name: &str, keys: &[(&str, Result<String, &str>)]) {
    let blank = if text.is_empty() { "" } else { "\n" };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{blank}[{name}]");
    for (key, value) in keys {
        let _ = match value {
            Ok(value) => writeln!(text, "{key} = {value}"),
            Err(instead) => writeln!(text, "# {key} is not set: {instead}"),
        };
    }
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// A TOML string. TOML knows every escape that JSON uses; DEL, which JSON leaves as it is, no value contains.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn duration(span: Duration) -> String {
    let millis = span.as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}
