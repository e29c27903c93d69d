use super::*;
use crate::event::surroundings::Surroundings;
use crate::event::{Args, BootTime, Executable, Lineage, PathState, ProcessKey, Reason};

const CLIENT: &str = "127.0.0.1:40000";
const SERVER: &str = "127.0.0.1:50000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connection(direction: Direction, local: &str, remote: &str) -> Connection {
    let unknown = Executable { name: Vec::new(), path: Vec::new(), state: PathState::Unknown };
    Connection {
        arm: 9,
        at: BootTime(1),
        direction,
        process: ProcessKey { tgid: 1, start: BootTime(1) },
        tid: 1,
        uid: 0,
        gid: 0,
        comm: CONNECTING.into(),
        leader_comm: b"sensor".into(),
        executable: unknown,
        lineage: Lineage::default(),
        local: address(local),
        remote: address(remote),
        found_at_start: false,
        witness: 1,
    }
}

fn judged(fact: Fact, connections: Vec<Connection>) -> (State, String) {
    let canary = Canary::Connection { client: address(CLIENT), server: address(SERVER) };
    let seen = Seen { connections: connections.into_iter().map(Ok).collect(), executions: Vec::new(), inherited: None };
    judge(fact, &canary, &seen)
}

#[test]
fn a_connection_is_judged_by_its_ends_and_its_thread() {
    let made = connection(Direction::Attempted, CLIENT, SERVER);
    let accepted = connection(Direction::Accepted, SERVER, CLIENT);
    for fact in [Fact::Connect, Fact::Accept] {
        assert_eq!(judged(fact, vec![made.clone(), accepted.clone()]).0, State::Works);
        assert_eq!(judged(fact, Vec::new()).0, State::Blind);
    }
    // The other fact's record is none of this one's.
    assert_eq!(judged(Fact::Accept, vec![made.clone()]).0, State::Blind);
    assert_eq!(judged(Fact::Connect, vec![accepted]).0, State::Blind);
    // The port may be chosen after the event, but not that of an accepted one.
    assert_eq!(judged(Fact::Connect, vec![connection(Direction::Attempted, "127.0.0.1:0", SERVER)]).0, State::Works);
    assert_eq!(judged(Fact::Accept, vec![connection(Direction::Accepted, "127.0.0.1:0", CLIENT)]).0, State::Wrong);
    let (state, reason) = judged(Fact::Connect, vec![connection(Direction::Attempted, CLIENT, "127.0.0.1:1")]);
    assert_eq!(state, State::Wrong);
    assert!(reason.contains("127.0.0.1:1") && reason.contains(SERVER), "{reason}");
    let other = Connection { comm: b"else".into(), ..made.clone() };
    assert_eq!(judged(Fact::Connect, vec![other.clone()]).0, State::Wrong);
    // Somebody else's beside the right one does not matter.
    assert_eq!(judged(Fact::Connect, vec![other, made]).0, State::Works);
}

fn exec(args: &[&str], comm: &str) -> Exec {
    Exec {
        at: BootTime(1),
        process: ProcessKey { tgid: 1, start: BootTime(1) },
        old_tid: 1,
        uid: 0,
        gid: 0,
        euid: 0,
        loginuid: None,
        comm: comm.into(),
        executable: Executable { name: b"sensor".into(), path: b"/sensor".into(), state: PathState::Whole },
        args: Args { copied: args.iter().map(|arg| (*arg).into()).collect(), count: 2, ..Args::default() },
        lineage: Lineage::default(),
        parent_executable: Executable { name: Vec::new(), path: Vec::new(), state: PathState::Unknown },
        streams: Default::default(),
        surroundings: Surroundings::default(),
        reason: Reason::Parent,
        generations: 0,
        connection: None,
    }
}

#[test]
fn an_execution_is_judged_by_its_arguments_and_its_name() {
    let canary = Canary::Exec(vec![b"name".into(), ARGUMENT.into()]);
    let judged = |execs: Vec<Exec>| {
        let seen = Seen { connections: Vec::new(), executions: execs.into_iter().map(Ok).collect(), inherited: None };
        judge(Fact::Exec, &canary, &seen)
    };
    let right = exec(&["name", ARGUMENT], EXECUTED);
    assert_eq!(judged(vec![right.clone()]), (State::Works, String::new()));
    assert_eq!(judged(Vec::new()).0, State::Blind);
    let (state, reason) = judged(vec![exec(&["name", "other"], EXECUTED)]);
    assert!(state == State::Wrong && reason.contains("other"), "{reason}");
    assert_eq!(judged(vec![exec(&["name", ARGUMENT], "bash")]).0, State::Wrong);
    assert_eq!(judged(vec![exec(&["runc", "init"], EXECUTED), right]).0, State::Works);
}

#[test]
fn a_record_that_makes_no_sense_is_wrong() {
    let mut seen = Seen::default();
    seen.connection(&[1, 2, 3]);
    seen.execution(&[]);
    let connection = Canary::Connection { client: address(CLIENT), server: address(SERVER) };
    assert_eq!(judge(Fact::Connect, &connection, &seen).0, State::Wrong);
    assert_eq!(judge(Fact::Exec, &Canary::Exec(Vec::new()), &seen).0, State::Wrong);
}

#[test]
fn a_canary_really_connects() {
    let Canary::Connection { client, server } = make(Fact::Connect).unwrap() else { panic!("no connection") };
    assert!(client.ip().is_loopback() && server.ip().is_loopback() && client.port() != server.port());
}
