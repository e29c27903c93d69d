//! What an alert says of an execution beyond what rules ask for.

use super::{alert, connection, executable, execution, extras, origin};
use sensor::event::surroundings::{Device, File, Surroundings};
use sensor::event::{Direction, Exec, Executable, PathState};
use serde_json::json;

/// All of it.
pub(crate) fn all() -> Surroundings {
    Surroundings {
        file: Some(File { inode: 77, device: Device { major: 8, minor: 1 }, uid: 0, gid: 5, mode: 0o4755 }),
        removed: Some(true),
        directory: Some(executable("/var/www")),
        session: Some(7),
        terminal: Some(Some(Device { major: 136, minor: 3 })),
        ancestors: vec![executable("/usr/sbin/sshd")],
        environment: vec![b"SSH_CONNECTION=203.0.113.7 1 198.51.100.1 22".to_vec()],
        environment_cut: true,
    }
}

#[test]
fn an_alert_says_where_and_for_whom_the_shell_runs() {
    let (connection, mut event) = (connection(Direction::Attempted, &extras()), execution(&["bash", "-i"]));
    let say = |event: &Exec| alert(&connection, &origin().exec(event, 2, &extras()));
    let process = say(&event)["process"].take();
    assert_eq!(process["working_directory"], json!("/var/www"));
    assert_eq!(process["tty"], json!({"char_device": {"major": 136, "minor": 3}}));
    assert_eq!(process["env_vars"], json!(["SSH_CONNECTION=203.0.113.7 1 198.51.100.1 22"]));
    let leader = json!({
        "pid": 7,
        "entity_id": process["parent"]["entity_id"],
        "start": process["parent"]["start"],
        "same_as_process": false,
    });
    assert_eq!(process["session_leader"], leader);
    event.surroundings.session = Some(event.process.tgid);
    let process = say(&event)["process"].take();
    assert_eq!(process["session_leader"]["entity_id"], process["entity_id"]);
    assert_eq!(process["session_leader"]["same_as_process"], json!(true));
    event.surroundings.session = Some(99);
    assert_eq!(say(&event)["process"]["session_leader"], json!({"pid": 99, "same_as_process": false}));
    event.executable = Executable { state: PathState::Detached, ..executable("memfd:x") };
    assert_eq!(say(&event)["sensor"]["file"]["memfd"], json!(true));
    event.surroundings = Surroundings { terminal: Some(None), ..Surroundings::default() };
    let bare = say(&event);
    assert_eq!(bare["sensor"]["file"], json!({"memfd": true}));
    for name in ["working_directory", "session_leader", "tty", "env_vars"] {
        assert!(bare["process"].get(name).is_none(), "{name}");
    }
}
