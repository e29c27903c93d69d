//! Any configuration reads back as it was printed, and no text panics.

use super::*;
use proptest::prelude::*;

fn any_network() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(address, length)| IpNet::new_assert(address.into(), length));
    let v6 = (any::<[u8; 16]>(), 1..=128_u8).prop_map(|(mut address, length)| {
        // Never one that contains the IPv4-mapped addresses, which are refused.
        address[0] |= 0x80;
        IpNet::new_assert(address.into(), length)
    });
    prop_oneof![v4, v6].prop_map(|network| network.trunc())
}

fn any_config() -> impl Strategy<Value = Config> {
    let hook = || prop_oneof![Just(Hook::Auto), Just(Hook::Fentry), Just(Hook::Kprobe), Just(Hook::Tracepoint)];
    let label = || proptest::option::of("[^\\pC]{1,20}");
    let disabled = prop_oneof![Just(vec![]), Just(vec!["reverse-shell-via-child"]), Just(vec!["shell-on-socket"])];
    let rule = (1..=3_600_000_u64, proptest::collection::vec(any_network(), 0..=MAX_EXCLUDED), disabled);
    let rest = (hook(), proptest::option::of(hook()), label(), label(), label(), 16..=28_u32, 16..=28_u32);
    let path = || proptest::option::of("/[^\\pC]{1,20}".prop_map(PathBuf::from));
    let elasticsearch = (0..=u16::MAX, "[a-z][a-z0-9.-]{0,20}", path(), any::<bool>(), path());
    let elasticsearch = elasticsearch.prop_map(|(port, data_stream, login, key, ca_file)| Elasticsearch {
        url: format!("https://x.example:{port}/y"),
        data_stream,
        api_key_file: login.clone().filter(|_| key),
        password_file: login.filter(|_| !key),
        ca_file,
    });
    let host = || "[a-z][a-z0-9.-]{0,20}";
    let to = prop_oneof![
        "/[^\\pC]{1,20}".prop_map(|path| syslog::Place::Unix(path.into())),
        (host(), 1..=u16::MAX).prop_map(|(host, port)| syslog::Place::Tcp(host, port)),
        (host(), 1..=u16::MAX).prop_map(|(host, port)| syslog::Place::Tls(host, port)),
    ];
    let syslog = (to, path()).prop_map(|(to, ca_file)| Syslog { to, ca_file });
    let remote = (proptest::option::of(elasticsearch), 1_u64 << 20..=64 << 30, proptest::option::of(syslog));
    let output = (any::<bool>(), label(), any::<bool>(), any::<Option<u16>>(), remote);
    let heartbeat = proptest::option::of((10..=86_400_u64).prop_map(Duration::from_secs));
    let life = (proptest::sample::subsequence(Place::ALL.to_vec(), 0..=5), heartbeat);
    let collapse = proptest::option::of((1..=3600_u64).prop_map(Duration::from_secs));
    let noise = (collapse, any::<u32>().prop_map(std::num::NonZeroU32::new));
    let pattern = "[a-z0-9._+-]{1,14}[*]?";
    let relays = proptest::collection::vec(pattern, 0..=16).prop_map(|all| Relays::new(all).unwrap());
    let relays = (relays, any::<bool>());
    let all = (rule, rest, output, (life, noise, relays));
    all.prop_map(
        |(
            (millis, excluded, disabled),
            (connect, accept, id, name, btf, connections, executions),
            output,
            (life, noise, relays),
        )| {
            Config {
                rule: Rule { span: Duration::from_millis(millis), excluded, relays: relays.0, disabled },
                exception: Vec::new(),
                evidence: Evidence::default(),
                hooks: Hooks { connect, accept, fork: relays.1 },
                host: Host { id, name },
                kernel: Kernel { btf: btf.map(|name| Path::new("/").join(name)) },
                rings: Rings { connections: 1 << connections, executions: 1 << executions },
                output: Output {
                    stdout: output.0,
                    file: output.1.map(|name| Path::new("/").join(name)),
                    journal: output.2,
                    elasticsearch: output.4.0,
                    syslog: output.4.2,
                    spool: Spool { directory: "/s".into(), bytes: output.4.1 },
                },
                noise: Noise { collapse: noise.0, per_minute: noise.1 },
                life: Life { outputs: life.0, heartbeat: life.1 },
                metrics: Metrics {
                    listen: output.3.map(|port| Listen::Tcp((std::net::Ipv4Addr::LOCALHOST, port).into())),
                },
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(config in any_config()) {
        prop_assert_eq!(parse::config(&config.to_toml()), Ok(config));
    }

    #[test]
    fn no_text_panics(text in "(\\PC|[\\[\\]='\"#.\n{}])*") {
        let _ = parse::config(&text).map_err(|invalid| invalid.to_string());
    }

    #[test]
    fn no_change_to_a_good_text_panics(place in any::<proptest::sample::Index>(), character in any::<char>()) {
        let mut text: Vec<char> = Config::default().to_toml().chars().collect();
        let place = place.index(text.len());
        text[place] = character;
        let text: String = text.into_iter().collect();
        if let Err(invalid) = parse::config(&text) {
            prop_assert!(invalid.line <= text.matches('\n').count() + 1);
        }
    }
}
