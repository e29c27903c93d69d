//! What runs the sensor on the nodes of a cluster (`deploy/kubernetes`): it is what the interface of Kubernetes takes, and asks of the
//! sensor's image and command line only what these have.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use clap::Parser as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, PodSpec, Probe, ServiceAccount};
use sensor::command::line::{Cli, Command};
use sensor::config::Config;
use sensor::heartbeat;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const MANIFEST: &str = include_str!("../../deploy/kubernetes/sensor.yaml");
const LEAST: &str = include_str!("../../deploy/kubernetes/least-capabilities.yaml");
const SCRIPT: &str = include_str!("../../deploy/container/least-capabilities.sh");
const UNIT: &str = include_str!("../../deploy/systemd/sensor.service");
/// Where the image has the program, and what it is called.
const PROGRAM: &str = "/usr/bin/sensor";

fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Reads a document as Kubernetes' type of it. A field that the type does not have is an error, as it is for a server that validates
/// strictly: it would be missing in what the type writes.
fn typed<T: Serialize + DeserializeOwned>(document: &Value) -> T {
    let read: T = serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{error}: {document}"));
    missing("", document, &serde_json::to_value(&read).unwrap());
    read
}

/// Everything of one value is in the other.
fn missing(path: &str, from: &Value, within: &Value) {
    match (from, within) {
        (Value::Object(fields), _) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                missing(&path, value, within.get(name).unwrap_or_else(|| panic!("{path}: no such field")));
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            assert_eq!(items.len(), others.len(), "{path}");
            items.iter().zip(others).for_each(|(item, other)| missing(path, item, other));
        }
        _ => assert_eq!(from, within, "{path}"),
    }
}

fn of_kind<T: Serialize + DeserializeOwned>(kind: &str) -> T {
    let documents = documents(MANIFEST);
    let of_kind: Vec<_> = documents.iter().filter(|document| document["kind"] == kind).collect();
    let [document] = *of_kind else { panic!("{} of the kind {kind}", of_kind.len()) };
    typed(document)
}

fn pod() -> PodSpec {
    let set: DaemonSet = of_kind("DaemonSet");
    let spec = set.spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    assert_eq!(spec.selector.match_labels.unwrap(), labels, "it would not find its pods");
    spec.template.spec.unwrap()
}

fn container(pod: &PodSpec) -> &Container {
    let [container] = pod.containers.as_slice() else { panic!("not one container") };
    container
}

/// Arguments as the kubelet hands them over.
fn command_line(container: &Container) -> Cli {
    let mut arguments = container.args.clone().unwrap();
    for variable in container.env.iter().flatten() {
        let name = format!("$({})", variable.name);
        assert!(arguments.iter().any(|argument| argument.contains(&name)), "{name} is used nowhere");
        arguments.iter_mut().for_each(|argument| *argument = argument.replace(&name, "node-1"));
    }
    assert!(!arguments.iter().any(|argument| argument.contains("$(")), "a variable that is not there: {arguments:?}");
    Cli::try_parse_from([vec![PROGRAM.to_owned()], arguments].concat()).unwrap()
}

/// Whether a path lies in a volume, and whether that can be written.
fn mounted(container: &Container, path: &Path) -> Option<bool> {
    let mounts = container.volume_mounts.as_ref().unwrap();
    let mount = mounts.iter().find(|mount| path.starts_with(&mount.mount_path))?;
    Some(mount.read_only != Some(true))
}

#[test]
fn the_interface_takes_every_document() {
    let kinds: Vec<_> = documents(MANIFEST).iter().map(|document| document["kind"].clone()).collect();
    assert_eq!(kinds, ["Namespace", "ServiceAccount", "ConfigMap", "DaemonSet"]);
    let namespace: Namespace = of_kind("Namespace");
    let account: ServiceAccount = of_kind("ServiceAccount");
    assert_eq!(account.metadata.namespace, namespace.metadata.name);
    assert_eq!(pod().service_account_name, account.metadata.name);
}

#[test]
#[should_panic(expected = ".spec.template.spec.hostPid: no such field")]
fn a_field_that_does_not_exist_is_noticed() {
    let text = MANIFEST.replace("hostPID", "hostPid");
    typed::<DaemonSet>(documents(&text).last().unwrap());
}

#[test]
fn the_sensor_understands_its_command_line_and_its_configuration() {
    let pod = pod();
    let container = container(&pod);
    let (name, version) = container.image.as_deref().unwrap().rsplit_once(':').unwrap();
    assert!(name.ends_with("/sensor") && version == env!("CARGO_PKG_VERSION"), "{name}:{version}");
    let cli = command_line(container);
    let Command::Run(options) = &cli.command else { panic!("{:?}", cli.command) };
    assert_eq!(options.host_name.as_deref(), Some("node-1"));

    let path = cli.config.unwrap();
    assert_eq!(mounted(container, &path), Some(false));
    let map: ConfigMap = of_kind("ConfigMap");
    let text = map.data.unwrap().remove(path.file_name().unwrap().to_str().unwrap()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = Config::load(Some(file.path())).unwrap();
    assert!(config.output.stdout, "nobody would see an alert");
    assert_eq!(mounted(container, &config.output.spool.directory), Some(true));
}

#[test]
fn probes_ask_for_the_sign_of_life() {
    let pod = pod();
    let container = container(&pod);
    let Command::Run(run) = command_line(container).command else { panic!("it does not run") };
    let heartbeat = run.heartbeat.unwrap();
    assert_eq!(mounted(container, &heartbeat), Some(true));
    let patience = |probe: &Option<Probe>| {
        let probe = probe.as_ref().unwrap();
        let words = probe.exec.as_ref().unwrap().command.clone().unwrap();
        assert_eq!(words.first().map(String::as_str), Some(PROGRAM));
        let Command::Alive(alive) = Cli::try_parse_from(words).unwrap().command else {
            panic!("it asks for something else")
        };
        assert_eq!(alive.heartbeat, heartbeat);
        let [period, failures] = [probe.period_seconds.unwrap(), probe.failure_threshold.unwrap_or(3)];
        Duration::from_secs(u64::try_from(period * failures).unwrap())
    };
    // As long as the unit gives it.
    assert_eq!(patience(&container.startup_probe), Duration::from_secs(120));
    assert!(UNIT.contains("\nTimeoutStartSec=2min\n"));
    for probe in [&container.liveness_probe, &container.readiness_probe] {
        assert!(patience(probe) > heartbeat::LIMIT, "one sign that is late is no fault");
    }
}

#[test]
fn it_watches_every_node_and_can_write_nothing_but_its_own() {
    let pod = pod();
    let container = container(&pod);
    assert_eq!((pod.host_pid, pod.host_network, pod.host_ipc), (Some(true), None, None));
    assert_eq!(pod.automount_service_account_token, Some(false));
    let tolerations = pod.tolerations.as_ref().unwrap();
    assert!(
        tolerations
            .iter()
            .any(|it| it.operator.as_deref() == Some("Exists") && it.key.is_none() && it.effect.is_none())
    );
    let context = container.security_context.as_ref().unwrap();
    assert_eq!((context.privileged, context.read_only_root_filesystem), (Some(true), Some(true)));
    let resources = container.resources.as_ref().unwrap();
    let limit = &resources.limits.as_ref().unwrap().get("memory").unwrap().0;
    assert_eq!((limit.as_str(), UNIT.contains("\nMemoryMax=256M\n")), ("256Mi", true), "the unit has another limit");
    assert!(resources.requests.as_ref().unwrap().contains_key("cpu"));

    let mounts = container.volume_mounts.as_ref().unwrap();
    let mounted: BTreeSet<_> = mounts.iter().map(|mount| &mount.name).collect();
    let volumes: BTreeSet<_> = pod.volumes.as_ref().unwrap().iter().map(|volume| &volume.name).collect();
    assert_eq!(mounted, volumes);
    let writable: Vec<_> =
        mounts.iter().filter(|mount| mount.read_only != Some(true)).map(|it| &*it.mount_path).collect();
    assert_eq!(writable, ["/run/sensor", "/var/lib/sensor"]);
    // The same of the host as the container that podman starts.
    for mount in mounts.iter().filter(|mount| mount.mount_path.matches('/').count() == 2 && mount.sub_path.is_none()) {
        let path = &mount.mount_path;
        assert!(path.ends_with("/sensor") || SCRIPT.contains(&format!("--volume={path}:{path}:ro")), "{path}");
    }
}

/// It changes the set above, and gives what the script for a single host gives.
#[test]
fn the_least_capabilities_are_those_of_the_container() {
    let [document] = &*documents(LEAST) else { panic!("not one document") };
    let patch: DaemonSet = typed(document);
    let whole: DaemonSet = of_kind("DaemonSet");
    assert_eq!((&patch.metadata.name, &patch.metadata.namespace), (&whole.metadata.name, &whole.metadata.namespace));
    let patch = patch.spec.unwrap().template.spec.unwrap();
    let container = container(&patch);
    assert_eq!(container.name, self::container(&pod()).name, "the patch would add a container");
    let context = container.security_context.as_ref().unwrap();
    assert_eq!((context.privileged, context.allow_privilege_escalation), (Some(false), Some(false)));
    let capabilities = context.capabilities.as_ref().unwrap();
    let added = format!("--cap-add={} ", capabilities.add.as_ref().unwrap().join(","));
    assert!(SCRIPT.contains(&added), "the script does not have {added}");
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
    assert!(SCRIPT.contains("--cap-drop=ALL ") && SCRIPT.contains("--security-opt=no-new-privileges "));
    for mount in container.volume_mounts.iter().flatten() {
        let path = &mount.mount_path;
        assert!(SCRIPT.contains(&format!("--volume={path}:{path}:ro")), "{path}");
        assert!(patch.volumes.iter().flatten().any(|volume| volume.name == mount.name), "{path}");
    }
}
