//! Every key in every form, errors with their places, the documented example, printing and reading back.

use super::parse::{self, Invalid};
use super::*;
use crate::output::syslog;
use sensor_common::address::words;

mod properties;
mod rules;

fn read(text: &str) -> Config {
    parse::config(text).unwrap_or_else(|invalid| panic!("{text}\n{invalid}"))
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn nothing_said_is_the_rule_as_published() {
    let Config { rule, exception, evidence, hooks, host, kernel, rings, output, noise, life, metrics } = read("");
    assert_eq!(rule.span, Duration::from_millis(5000));
    assert_eq!(rule.excluded, nets(&["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128"]));
    assert_eq!(exception, []);
    assert!(evidence.environment.is_empty() && evidence.redact.len() == 17);
    assert_eq!(hooks, Hooks { connect: Hook::Auto, accept: Some(Hook::Auto), fork: true });
    assert_eq!((host, kernel), (Host { id: None, name: None }, Kernel { btf: None }));
    assert_eq!((rings.connections, rings.executions), (524_288, 4_194_304));
    let Output { stdout, file, journal, elasticsearch, syslog, spool } = output;
    assert_eq!((stdout, file, journal, elasticsearch, syslog), (true, None, false, None, None));
    assert_eq!(spool, Spool { directory: "/var/lib/sensor/spool".into(), bytes: 67_108_864 });
    let per_minute = std::num::NonZeroU32::new(3000);
    assert_eq!(noise, Noise { collapse: Some(Duration::from_secs(60)), per_minute });
    let told = vec![Place::File, Place::Journal, Place::Elasticsearch, Place::Syslog];
    assert_eq!(life, Life { outputs: told, heartbeat: Some(Duration::from_secs(300)) });
    assert_eq!(metrics, Metrics { listen: None });
}

#[test]
fn the_documented_example_is_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/sensor.toml");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(read(&text), Config::default());
    // The keys that have no default stand there as comments; with the marks taken away they are valid too.
    let with_all = text.replace("# id = ", "id = ").replace("# name = ", "name = ").replace("# btf = ", "btf = ");
    let with_all = [
        "[[exception]]",
        "reason = ",
        "until = ",
        "rule = ",
        "executable = ",
        "arguments = ",
        "parent = ",
        "parent_arguments = ",
        "ancestor = ",
        "container = ",
        "image = ",
        "user = ",
        "source = ",
        "destination = ",
        "port = ",
        "[output.syslog]",
        "to = ",
        "[output.elasticsearch]",
        "url = ",
        "data_stream = ",
        "api_key_file = ",
        "ca_file = ",
    ]
    .into_iter()
    .fold(with_all, |text, key| text.replace(&format!("# {key}"), key));
    let config = read(&with_all);
    assert!(config.host.id.is_some() && config.host.name.is_some() && config.kernel.btf.is_some());
    assert!(config.exception.iter().all(|one| one.until.is_some() && one.conditions.port.is_some()));
    assert_eq!(config.exception.len(), 1);
    assert!(config.output.syslog.is_some());
    let elasticsearch = config.output.elasticsearch.unwrap();
    assert_eq!(elasticsearch.data_stream, Elasticsearch::data_stream());
    assert!(elasticsearch.api_key_file.is_some() && elasticsearch.ca_file.is_some());
}

#[test]
fn every_key_is_read() {
    let config = read(
        r#"
        [rule]
        span = "1500ms"
        excluded = ["10.0.0.0/8", "192.0.2.7", "::ffff:198.51.100.0/120", "2001:db8::/32"]
        [hooks]
        connect = "kprobe"
        accept = "off"
        [host]
        id = "web-1"
        name = "Ünïcode name"
        [kernel]
        btf = "/var/lib/btf/vmlinux"
        [rings]
        connections = 65_536
        executions = 0x1000_0000
        [output]
        stdout = false
        file = "/var/log/alerts"
        journal = true
        [output.elasticsearch]
        url = "https://elastic.example.org:9200"
        data_stream = "logs-x-y"
        api_key_file = "/etc/key"
        ca_file = "/etc/ca.pem"
        [output.syslog]
        to = "tls://logs.example.org:6514"
        ca_file = "/etc/ca.pem"
        [output.spool]
        directory = "/spool"
        bytes = 1_048_576
        [noise]
        collapse = "off"
        per_minute = 0
        [life]
        outputs = ["stdout", "syslog"]
        heartbeat = "off"
        [metrics]
        listen = "[::1]:9464"
        "#,
    );
    assert_eq!(config.rule.span, Duration::from_millis(1500));
    assert_eq!(config.rule.excluded, nets(&["10.0.0.0/8", "192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32"]));
    assert_eq!(config.hooks, Hooks { connect: Hook::Kprobe, accept: None, fork: true });
    assert_eq!(config.host.id.as_deref(), Some("web-1"));
    assert_eq!(config.host.name.as_deref(), Some("Ünïcode name"));
    assert_eq!(config.kernel.btf.as_deref(), Some(Path::new("/var/lib/btf/vmlinux")));
    assert_eq!((config.rings.connections, config.rings.executions), (65_536, 268_435_456));
    let expected = Output {
        stdout: false,
        file: Some("/var/log/alerts".into()),
        journal: true,
        elasticsearch: Some(Elasticsearch {
            url: "https://elastic.example.org:9200".to_owned(),
            data_stream: "logs-x-y".to_owned(),
            api_key_file: Some("/etc/key".into()),
            password_file: None,
            ca_file: Some("/etc/ca.pem".into()),
        }),
        syslog: Some(Syslog {
            to: syslog::Place::Tls("logs.example.org".to_owned(), 6514),
            ca_file: Some("/etc/ca.pem".into()),
        }),
        spool: Spool { directory: "/spool".into(), bytes: 1 << 20 },
    };
    assert_eq!(config.output, expected);
    assert_eq!(config.noise, Noise { collapse: None, per_minute: None });
    assert_eq!(config.life, Life { outputs: vec![Place::Stdout, Place::Syslog], heartbeat: None });
    assert_eq!(config.metrics.listen, Some(Listen::Tcp("[::1]:9464".parse().unwrap())));
    let socket = read("metrics.listen = '/run/sensor/metrics'").metrics.listen;
    assert_eq!(socket, Some(Listen::Unix("/run/sensor/metrics".into())));
    for (text, hook) in
        [("auto", Hook::Auto), ("fentry", Hook::Fentry), ("kprobe", Hook::Kprobe), ("tracepoint", Hook::Tracepoint)]
    {
        let hooks = read(&format!("hooks = {{ connect = '{text}', accept = '{text}' }}")).hooks;
        assert_eq!(hooks, Hooks { connect: hook, accept: Some(hook), fork: true });
    }
}

#[test]
fn durations_have_a_unit_and_a_range() {
    for (text, millis) in
        [("1ms", 1), ("5s", 5000), ("5000ms", 5000), ("2m", 120_000), ("1h", 3_600_000), ("3600s", 3_600_000)]
    {
        assert_eq!(read(&format!("rule.span = '{text}'")).rule.span, Duration::from_millis(millis), "{text}");
    }
    for text in ["", "5", "s", "0ms", "0s", "-1s", "+5s", "5 s", "1.5s", "5S", "5sec", "2h", "3601s", "5s ", "٥s"] {
        assert!(parse::config(&format!("rule.span = '{text}'")).is_err(), "{text}");
    }
    assert!(parse::config("rule.span = '99999999999999999999ms'").is_err());
    assert!(parse::config("rule.span = '9999999999999999999h'").is_err());
}

#[test]
fn an_error_says_where_what_and_what_is_allowed() {
    let networks = format!("[rule]\nexcluded = [{}]", "'192.0.2.1', ".repeat(MAX_EXCLUDED + 1));
    for (text, line, column, key, message) in [
        (
            "[rule]\nspam = 1",
            2,
            1,
            "rule.spam",
            "unknown key `spam`, expected one of `span`, `excluded`, `relays`, `disabled`",
        ),
        (
            "[rules]\n",
            1,
            2,
            "rules",
            "unknown key `rules`, expected one of `rule`, `exception`, `evidence`, `hooks`, `host`, `kernel`, `rings`",
        ),
        (
            "[rule]\nspan = 5",
            2,
            8,
            "rule.span",
            "invalid type: integer `5`, expected a whole number with ms, s, m or h",
        ),
        ("rule = { span = '5' }", 1, 17, "rule.span", "\"5\" is no duration; allowed is a whole number with ms"),
        ("rule.span = '2h'", 1, 13, "rule.span", "\"2h\" is out of range; allowed is"),
        ("rule = 5", 1, 8, "rule", "invalid type: integer `5`"),
        (
            "\n\n[rule]\nexcluded = [\n '10.0.0.0/8',\n '10.0.0.1/8']",
            6,
            2,
            "rule.excluded",
            "meant is perhaps \"10.0.0.0/8\"",
        ),
        ("rule.excluded = ['x']", 1, 18, "rule.excluded", "\"x\" is no network; allowed is a network such as"),
        ("rule.excluded = ['::/0']", 1, 18, "rule.excluded", "contains all of IPv4"),
        ("rule.excluded = ['10.0.0.0/33']", 1, 18, "rule.excluded", "is no network"),
        ("rule.excluded = [1]", 1, 18, "rule.excluded", "invalid type: integer `1`, expected a network"),
        ("rule.excluded = '10.0.0.0/8'", 1, 17, "rule.excluded", "expected a sequence"),
        (&networks, 2, 12, "rule.excluded", "65 networks; allowed are 64"),
        ("[hooks]\nconnect = 'off'", 2, 11, "hooks.connect", "unknown variant `off`, expected one of `auto`, `fentry`"),
        (
            "[hooks]\naccept = 'no'",
            2,
            10,
            "hooks.accept",
            "expected one of `auto`, `fentry`, `kprobe`, `tracepoint`, `off`",
        ),
        ("[host]\nid = ''", 2, 6, "host.id", "it is empty; allowed is"),
        ("[host]\nname = \"a\\u0007\"", 2, 8, "host.name", "it contains a control character; allowed is"),
        ("[kernel]\nbtf = 'vmlinux'", 2, 7, "kernel.btf", "\"vmlinux\" is none; allowed is an absolute path"),
        (
            "rings.executions = 65_537",
            1,
            20,
            "rings.executions",
            "integer `65537`, expected a number of bytes, a power of two",
        ),
        (
            "metrics.listen = '0.0.0.0:1'",
            1,
            18,
            "metrics.listen",
            "others could reach \"0.0.0.0:1\"; allowed is a loopback",
        ),
        ("metrics.listen = 'localhost:1'", 1, 18, "metrics.listen", "\"localhost:1\" is none; allowed is"),
        ("noise.collapse = '999ms'", 1, 18, "noise.collapse", "\"999ms\" is out of range; allowed is \"off\", or"),
        ("noise.per_minute = -1", 1, 20, "noise.per_minute", "integer `-1`, expected a number of alerts up to"),
        ("life.outputs = ['file', 'file']", 1, 16, "life.outputs", "\"file\" is there twice"),
        ("life.outputs = ['mail']", 1, 17, "life.outputs", "unknown variant `mail`, expected one of `stdout`, `file`"),
        ("life.heartbeat = '9s'", 1, 18, "life.heartbeat", "\"9s\" is out of range; allowed is \"off\", or"),
        ("life.heartbeat = '25h'", 1, 18, "life.heartbeat", "\"25h\" is out of range"),
        ("rings.executions = 4096", 1, 20, "rings.executions", "from 65536 to 268435456"),
        ("rings.connections = -65536", 1, 21, "rings.connections", "integer `-65536`"),
        ("rings.connections = 536870912", 1, 21, "rings.connections", "integer `536870912`"),
        (
            "rings.connections = '64K'",
            1,
            21,
            "rings.connections",
            "invalid type: string \"64K\", expected a number of bytes",
        ),
    ] {
        let invalid = parse::config(text).unwrap_err();
        assert_eq!((invalid.line, invalid.column, &*invalid.key), (line, column, key), "{text}: {invalid}");
        assert!(invalid.message.contains(message), "{text}: {invalid}");
    }
}

#[test]
fn text_that_is_no_toml_is_an_error_with_a_place() {
    for (text, line, column) in [("[rule]\nspan = ", 2, 8), ("a = 1\na = 2", 2, 1), ("[rule", 1, 6), ("ü = = 1", 1, 5)]
    {
        let invalid = parse::config(text).unwrap_err();
        assert_eq!((invalid.line, invalid.column), (line, column), "{text}: {invalid}");
        assert!(!invalid.message.is_empty());
    }
}

#[test]
fn an_error_is_one_line_without_control_characters() {
    let invalid = parse::config("\"a\\u001b[31m\\nb\" = 1").unwrap_err();
    let text = invalid.to_string();
    assert!(text.starts_with("1:1: a\\u{1b}[31m b: unknown key"), "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
    let plain = Invalid { line: 3, column: 7, key: String::new(), message: "no TOML".to_owned() };
    assert_eq!(plain.to_string(), "3:7: no TOML");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let message = |path: &Path| Config::load(Some(path)).unwrap_err().to_string();
    let path = directory.path().join("sensor.toml");
    let name = path.display();
    assert_eq!(message(&path), format!("{name}: No such file or directory (os error 2)"));
    assert_eq!(message(directory.path()), format!("{}: Is a directory (os error 21)", directory.path().display()));
    std::fs::write(&path, b"# good\n[rule]\n# \xff\n").unwrap();
    assert_eq!(message(&path), format!("{name}:3: not UTF-8"));
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(message(&path), format!("{name}: longer than 1048576 bytes"));
    std::fs::write(&path, "#".repeat(1 << 20)).unwrap();
    assert_eq!(Config::load(Some(&path)).unwrap(), Config::default());
    std::fs::write(&path, "[rule]\nspan = '6'\n").unwrap();
    assert!(message(&path).starts_with(&format!("{name}:2:8: rule.span: \"6\" is no duration")));
    std::fs::write(&path, "[rule]\nspan = '6s'\n").unwrap();
    assert_eq!(Config::load(Some(&path)).unwrap().rule.span, Duration::from_secs(6));
}

#[test]
fn only_a_file_that_is_not_there_may_be_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sensor.toml");
    assert_eq!(Config::read_if_there(&path).unwrap(), Config::default());
    assert_eq!(Config::read_if_there(&directory.path().join("absent/sensor.toml")).unwrap(), Config::default());
    std::fs::write(&path, "rule.span = '6s'").unwrap();
    assert_eq!(Config::read_if_there(&path).unwrap().rule.span, Duration::from_secs(6));
    std::fs::write(&path, "rule.span = 6").unwrap();
    assert!(matches!(Config::read_if_there(&path), Err(ConfigError::Invalid { .. })));
    for unreadable in [directory.path(), &path.join("below")] {
        assert!(matches!(Config::read_if_there(unreadable), Err(ConfigError::Read { .. })), "{unreadable:?}");
    }
}

#[test]
fn the_kernel_side_gets_every_network_in_one_form() {
    let config = read("rule = { span = '2s', excluded = ['10.0.0.0/8', '::ffff:192.0.2.0/120', 'fe80::/10'] }");
    let Slot { span_ns, wanted: _, environment: _, excluded } = config.kernel_slot();
    assert_eq!((span_ns, used(&excluded)), (2_000_000_000, 3));
    let is_excluded = |text: &str| {
        let address = match text.parse().unwrap() {
            std::net::IpAddr::V4(v4) => mapped(v4.octets()),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        excluded.iter().take(3).any(|prefix| prefix.contains(words(&address)))
    };
    for inside in ["10.255.0.1", "::ffff:10.1.1.1", "192.0.2.255", "fe80::1", "febf::1"] {
        assert!(is_excluded(inside), "{inside}");
    }
    for outside in ["11.0.0.0", "::10.1.1.1", "192.0.3.0", "fec0::1", "::"] {
        assert!(!is_excluded(outside), "{outside}");
    }
    assert_eq!(used(&Config::default().kernel_slot().excluded), 4);
    assert_eq!(used(&read("rule.excluded = []").kernel_slot().excluded), 0);
}

#[test]
fn a_reload_applies_the_rule_and_what_is_told() {
    let old = Config::default();
    assert!(old.restart_needed(&read("noise = { collapse = 'off', per_minute = 5 }")).is_empty());
    assert!(old.restart_needed(&read("life = { outputs = ['stdout'], heartbeat = '1h' }")).is_empty());
    assert!(old.restart_needed(&read("rule = { span = '1s', excluded = [] }")).is_empty());
    for (text, key) in [
        ("hooks.connect = 'kprobe'", "hooks.connect"),
        ("hooks.accept = 'off'", "hooks.accept"),
        ("hooks.fork = 'off'", "hooks.fork"),
        ("rule.relays = []", "rule.relays"),
        ("host.id = 'x'", "host.id"),
        ("host.name = 'x'", "host.name"),
        ("kernel.btf = '/x'", "kernel.btf"),
        ("rings.connections = 65536", "rings.connections"),
        ("rings.executions = 65536", "rings.executions"),
        ("output.stdout = false", "output.stdout"),
        ("output.file = '/x'", "output.file"),
        ("output.journal = true", "output.journal"),
        ("output.elasticsearch.url = 'https://x'", "output.elasticsearch"),
        ("output.syslog.to = 'unix:/x'", "output.syslog"),
        ("output.spool.bytes = 2000000", "output.spool"),
        ("metrics.listen = '127.0.0.1:1'", "metrics.listen"),
    ] {
        assert_eq!(old.restart_needed(&read(text)), [key]);
        assert_eq!(read(text).restart_needed(&old), [key]);
    }
}

#[test]
fn a_rule_is_turned_off_by_its_id_and_one_stays_on() {
    for rule in detect::rule::RULES {
        assert!(parse::RULE_IDS.contains(&format!("\"{}\"", rule.id)), "{}", rule.id);
        assert_eq!(read(&format!("rule.disabled = ['{0}', '{0}']", rule.id)).rule.disabled, [rule.id]);
    }
    let error = |text| parse::config(text).unwrap_err().to_string();
    assert!(
        error("rule.disabled = ['x']").contains("rule.disabled: there is no rule \"x\"; allowed is the id of a rule")
    );
    let all = "rule.disabled = ['shell-on-socket', 'reverse-shell-via-child', 'reverse-shell', 'relayed-shell']";
    assert!(error(all).contains("rule.disabled: every rule is off"), "{}", error(all));
}

fn used(excluded: &[Prefix]) -> usize {
    excluded.iter().filter(|prefix| **prefix != Prefix::NONE).count()
}
