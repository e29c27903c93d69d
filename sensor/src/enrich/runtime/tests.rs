use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

const ID: &str = "8a6f3bd1c0e44b6f9d3e21c7a5b80f1264c9d7e3f0a1b2c3d4e5f60718293a4b";

fn directory(files: &[(&str, &serde_json::Value)]) -> (TempDir, Runtimes) {
    let root = tempfile::tempdir().unwrap();
    for (path, value) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    }
    let runtimes = Runtimes::new(vec!["/nonexistent".into(), root.path().to_owned()]);
    (root, runtimes)
}

fn names(image: &str, name: &str, pod: Option<(&str, &str)>) -> Names {
    let some = |text: &str| Some(text.to_owned());
    Names {
        image: some(image),
        name: some(name),
        pod: pod.and_then(|(pod, _)| some(pod)),
        namespace: pod.and_then(|(_, namespace)| some(namespace)),
    }
}

#[test]
fn each_runtimes_files_are_read() {
    let containerd = json!({"ociVersion": "1.1.0", "process": {"args": ["sh"]}, "annotations": {
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.27",
        "io.kubernetes.cri.sandbox-name": "web-7d4b9",
        "io.kubernetes.cri.sandbox-namespace": "shop",
    }});
    let docker = json!({"ID": ID, "Name": "/web", "Config": {"Image": "nginx:1.27", "Env": ["A=b"], "Labels": {}}});
    let podman = json!([
        {"id": "other", "names": ["no"]},
        {"id": ID, "names": ["web"], "metadata": "{\"image-name\":\"localhost/web:1\",\"name\":\"web\"}"},
    ]);
    let crio = json!([{"id": ID, "names": ["k8s_web_web-7d4b9_shop_1b2c_0"], "metadata":
        "{\"image-name\":\"quay.io/web@sha256:ab\",\"name\":\"k8s_web_web-7d4b9_shop_1b2c_0\"}"}]);
    let pod = Some(("web-7d4b9", "shop"));
    for (file, value, expected) in [
        (format!("k8s.io/{ID}/config.json"), &containerd, names("docker.io/library/nginx:1.27", "web", pod)),
        (format!("{ID}/config.v2.json"), &docker, names("nginx:1.27", "web", None)),
        ("containers.json".to_owned(), &podman, names("localhost/web:1", "web", None)),
        ("volatile-containers.json".to_owned(), &podman, names("localhost/web:1", "web", None)),
        ("containers.json".to_owned(), &crio, names("quay.io/web@sha256:ab", "web", pod)),
    ] {
        let (root, mut runtimes) = directory(&[(&file, value)]);
        assert_eq!(runtimes.names(ID), expected, "{file}");
        // It is remembered when the runtime has forgotten it.
        fs::remove_dir_all(root.path()).unwrap();
        assert_eq!(runtimes.names(ID), expected, "{file}");
    }
}

#[test]
fn what_is_no_name_is_left_out() {
    let evil = json!({"Name": "/a\u{1b}[31m", "Config": {"Image": "x".repeat(256)}});
    let (_root, mut runtimes) = directory(&[(&format!("{ID}/config.v2.json"), &evil)]);
    assert_eq!(runtimes.names(ID), Names::default());
    for id in ["", "..", "../x", "a/b", &"a".repeat(129), "\u{e9}"] {
        assert_eq!(runtimes.names(id), Names::default());
    }
    // A name that appears later is found then.
    let (root, mut runtimes) = directory(&[]);
    assert_eq!(runtimes.names(ID), Names::default());
    fs::write(root.path().join("containers.json"), json!([{"id": ID, "names": ["late"]}]).to_string()).unwrap();
    assert_eq!(runtimes.names(ID).name.as_deref(), Some("late"));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let mut runtimes = Runtimes::new(vec![root.path().to_owned()]);
    let pipe = std::ffi::CString::new(root.path().join("containers.json").to_str().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(runtimes.names(ID), Names::default());
    fs::remove_file(root.path().join("containers.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", root.path().join("containers.json")).unwrap();
    assert_eq!(runtimes.names(ID), Names::default());
    fs::remove_file(root.path().join("containers.json")).unwrap();
    File::create(root.path().join("containers.json")).unwrap().set_len(MAX_BYTES + 1).unwrap();
    assert_eq!(runtimes.names(ID), Names::default());
}

proptest! {
    #[test]
    fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\",:a-zA-Z]{0,80}") {
        for text in [text.as_slice(), json.as_bytes()] {
            let _ = (from_bundle(text), from_docker(text), from_storage(text, ID));
        }
    }
}
