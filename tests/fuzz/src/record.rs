//! Records from the kernel side, and the documents made of them.

use sensor::event::decode;
use sensor::event::ecs::{Extras, Origin, ParentProgram, ParentSource, complete_port};
use sensor::event::facts::{Boot, Facts, Field, Millis};
use sensor::event::{BootTime, Connection, Direction, Exec, WallOffset, WallTime};
use serde_json::{Value, json};
use std::borrow::Cow;

/// The place of the document among all.
const SEQUENCE: u64 = 42;

/// A record, taken as one of either sort. Taken all the way: it is one.
pub fn record(data: &[u8]) -> bool {
    let connection = decode::connection(data);
    let exec = decode::exec(data);
    match &connection {
        Ok(event) => check_connection(event),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match &exec {
        Ok(event) => {
            check_exec(event);
            if let Some(connection) = &event.connection {
                check_connection(connection);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    connection.is_ok() || exec.is_ok()
}

/// What a run's documents have in common, as a host would say it.
pub(crate) fn origin() -> Origin {
    Origin {
        host_id: "0123456789abcdef0123456789abcdef".to_owned(),
        boot_id: "3b6f1c5e-0000-4000-8000-5d1a2b3c4d5e".to_owned(),
        host: json!({"id": "0123456789abcdef0123456789abcdef", "name": "host"}),
        offset: WallOffset::between(BootTime(5_000_000_000), WallTime(1_780_000_001_700_000_000)),
        hooks: "exec=tracepoint connect=fentry accept=fentry".to_owned(),
        degraded: vec!["something is not seen"],
    }
}

fn check_connection(event: &Connection) {
    let mut document = origin().connection(event, SEQUENCE, &Extras::default());
    // What rules judge of most events is not the whole document, and must be the same.
    let facts = origin().connection_facts(event, SEQUENCE);
    assert_eq!(Facts::from_value(&facts), Facts::from_value(&document));
    let destination = match event.direction {
        Direction::Attempted => event.remote,
        Direction::Accepted => event.local,
    };
    check(&document, event.at, |facts| {
        assert_eq!(facts.arm, Some(event.arm));
        let address = facts.first(Field::DestinationIp).expect("a destination");
        assert_eq!(address.parse(), Ok(destination.ip()));
    });
    complete_port(&mut document, 40_000);
    let port = document.pointer("/source/port").and_then(Value::as_u64);
    let source = if event.direction == Direction::Attempted { event.local } else { event.remote };
    assert_eq!(port, Some(if source.port() == 0 { 40_000 } else { source.port().into() }));
}

fn check_exec(event: &Exec) {
    // The parent's part takes the same sorts of values, so the process stands in for its own parent.
    let program = ParentProgram { args: event.args.clone(), source: ParentSource::Proc };
    let extras = Extras {
        user: Some("root".to_owned()),
        container: Some("c".to_owned()),
        parent: Some(program),
        ..Extras::default()
    };
    let document = origin().exec(event, SEQUENCE, &extras);
    let facts = origin().exec_facts(event, SEQUENCE, &extras);
    assert_eq!(Facts::from_value(&facts), Facts::from_value(&document));
    check(&document, event.at, |facts| {
        assert_eq!(facts.args_unsearched, event.args.unsearched);
        if !event.lineage.ancestors.is_empty() {
            assert!(facts.values(Field::Args).eq(facts.values(Field::ParentArgs)));
            assert_eq!(facts.parent_args_unsearched, event.args.unsearched);
        }
    });
}

/// The document is JSON that is read back as it was, and so are its facts.
pub(crate) fn check(document: &Value, at: BootTime, more: impl Fn(&Facts<'_>)) {
    let text = document.to_string();
    let again: Value = serde_json::from_str(&text).expect("a document is JSON");
    assert_eq!(again, *document);
    let facts = Facts::from_value(document).expect("a document has facts");
    assert_eq!(Facts::from_slice(text.as_bytes()), Ok(facts.clone()));
    let Origin { boot_id, offset, .. } = origin();
    assert_eq!(facts.time, Millis(offset.wall(at).0.div_euclid(1_000_000)));
    assert_eq!(facts.boot, Some(Boot { id: Cow::Borrowed(&*boot_id), at, sequence: Some(SEQUENCE) }));
    more(&facts);
}
